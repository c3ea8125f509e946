package main

import (
	"strconv"
	"strings"

	"github.com/pmtrace/pmtrace/decode/record"
)

// release is the minor version of a vLLM 0.x; later ones are newer than all.
func release(version string) int {
	major, rest, _ := strings.Cut(version, ".")
	minor, _, _ := strings.Cut(rest, ".")
	n, err := strconv.Atoi(minor)
	if major != "0" || err != nil {
		return 1 << 20
	}
	return n
}

// bounds is what a counter may be: equal bounds where the server's word is sure.
type bounds struct{ low, high float64 }

func (b *bounds) add(low, high int64) {
	b.low += float64(low)
	b.high += float64(high)
}

// checkMetrics compares sums with the server's counters.
//
// Most of them are counted by the frontend, when an engine's output reaches it.
// It drops outputs of requests whose client has hung up meanwhile
// (OutputProcessor.process_outputs: "Ignore output for already-aborted
// request"). For such a request it counted at least what the client got, and at
// most what the engine handed out: only these make bounds apart.
func checkMetrics(t *table, in *input, ix *index) {
	s := &in.session
	version := release(s.engine().VLLM)
	if s.outputs() {
		checkFrontend(t, in, ix, version)
	}
	checkPrefixCache(t, in, version)
	checkEvictionMetrics(t, in)
}

// frontend is what the frontend counted, as far as the session can tell.
type frontend struct {
	prompt, cached, computed, output bounds
	preempted, stop, length, abort   bounds
}

func sums(in *input) frontend {
	clients := map[string]*client{}
	for i := range in.clients {
		clients[in.clients[i].id()] = &in.clients[i]
	}
	var f frontend
	for i := range in.session.requests {
		r := &in.session.requests[i]
		f.add(r, clients[r.ExternalID])
	}
	return f
}

func (f *frontend) add(r *record.RequestRow, c *client) {
	prompt, cached, output := max(num(r.PromptTokens), 0), max(num(r.CachedTokens), 0), max(num(r.OutputTokens), 0)
	reason := ""
	if r.Reason != nil {
		reason = *r.Reason
	}
	if output == 0 && reason != reasonStop {
		prompt, cached = 0, 0 // counted with the first output, which of a pooling request has no token
	}
	if c == nil || !c.gone() {
		f.prompt.add(prompt, prompt)
		f.cached.add(cached, cached)
		f.computed.add(prompt-cached, prompt-cached)
		f.output.add(output, output)
		f.preempted.add(int64(r.Preemptions), int64(r.Preemptions))
		f.ended(reason, 1)
		return
	}
	sure := int64(0)
	if c.Completion > 0 {
		sure = 1
	}
	f.prompt.add(sure*prompt, prompt)
	f.cached.add(sure*cached, cached)
	f.computed.add(sure*(prompt-cached), prompt-cached)
	f.output.add(int64(c.Completion), output)
	f.preempted.add(0, int64(r.Preemptions))
	f.ended(reason, 0)
}

func (f *frontend) ended(reason string, sure int64) {
	switch reason {
	case reasonStop:
		f.stop.add(sure, 1)
	case reasonLength:
		f.length.add(sure, 1)
	case reasonAbort:
		// The engine sends no output for an abort, so nothing is counted.
		f.abort.add(0, 0)
	}
}

func checkFrontend(t *table, in *input, ix *index, version int) {
	f := sums(in)
	metric := func(name string) float64 { return in.metrics["vllm:"+name] }
	check := func(name string, b bounds) { t.within("/metrics: "+name, b.low, b.high, metric(name)) }
	check("prompt_tokens_total", f.prompt)
	if _, there := in.metrics["vllm:prompt_tokens_cached_total"]; there || version >= 17 {
		check("prompt_tokens_cached_total", f.cached)
	} else {
		t.skip("/metrics: prompt_tokens_cached_total", "this version has none")
	}
	check("generation_tokens_total", f.output)
	// Counted by the PREEMPTED events that go with a request's next output.
	check("num_preemptions_total", f.preempted)
	check("request_success_total{finished_reason=stop}", f.stop)
	check("request_success_total{finished_reason=length}", f.length)
	check("request_success_total{finished_reason=abort}", f.abort)

	// IterationStats are made of each EngineCoreOutputs that has outputs: of
	// each step that handed out tokens, or what pooling made of a prompt.
	steps := int64(0)
	for i := range in.session.steps {
		st := &in.session.steps[i]
		if num(st.FinishedRequests) > 0 || handedOut(ix.rowsOf[keyOf(st)]) {
			steps++
		}
	}
	check("iteration_tokens_total_count", bounds{float64(steps), float64(steps)})
	// v1/metrics/loggers.py: the sum is num_generation_tokens and, of a prompt
	// whose first output it is, all tokens (up to 0.24) or those that were not
	// in the cache (0.25 and later).
	tokens := bounds{f.output.low + f.computed.low, f.output.high + f.computed.high}
	if version < 25 {
		tokens = bounds{f.output.low + f.prompt.low, f.output.high + f.prompt.high}
	}
	check("iteration_tokens_total_sum", tokens)
}

func handedOut(rows []*record.StepRequestRow) bool {
	for _, r := range rows {
		if num(r.OutputTokens) > 0 {
			return true
		}
	}
	return false
}

// checkPrefixCache: the scheduler counts queries (the tokens of the request)
// and hits of requests that were not preempted before
// (KVCacheManager.record_prefix_cache_stats): since 0.28 when it takes them from
// waiting, before that at each look-up, which a request that finds no free
// blocks repeats in each step.
func checkPrefixCache(t *table, in *input, version int) {
	queries, hits := int64(0), int64(0)
	for i := range in.session.requests {
		r := &in.session.requests[i]
		queries += max(num(r.PromptTokens), 0)
		hits += max(num(r.CachedTokens), 0)
	}
	if !in.session.engine().Caching {
		queries, hits = 0, 0
	}
	want := func(name string, got int64) {
		value := in.metrics["vllm:"+name]
		if version < 28 {
			t.within("/metrics: "+name+" (repeated look-ups too)", 0, value, float64(got))
			return
		}
		t.within("/metrics: "+name, value, value, float64(got))
	}
	want("prefix_cache_queries_total", queries)
	want("prefix_cache_hits_total", hits)
}

// checkEvictionMetrics: vLLM's collector reports each block that is handed out
// again, whether or not it had a hash, at the moment it is handed out.
func checkEvictionMetrics(t *table, in *input) {
	s := &in.session
	const count, lifetime, idle = "vllm:kv_block_lifetime_seconds_count", "vllm:kv_block_lifetime_seconds_sum", "vllm:kv_block_idle_before_evict_seconds_sum"
	if !s.queue() {
		t.skip("/metrics: evictions", "the free block queue was not watched")
		return
	}
	if _, on := in.metrics[count]; !on {
		t.skip("/metrics: evictions", "the server runs without --kv-cache-metrics")
		return
	}
	if !in.fresh {
		// Blocks that were handed out before tracing began, and had no hash when
		// they were again, cannot be told from blocks that never were.
		t.within("/metrics: evictions (some of before cannot be told)", 0, in.metrics[count], float64(len(s.evictions)))
		return
	}
	sumLife, sumIdle := int64(0), int64(0)
	births := t.count("evictions: births known")
	for i := range s.evictions {
		e := &s.evictions[i]
		births.one(e.BirthKnown, "operation %d, block %d", e.OpID, e.BlockID)
		sumLife += e.LifetimeNS
		sumIdle += e.IdleNS
	}
	t.same("/metrics: kv_block_lifetime_seconds_count", in.metrics[count], float64(len(s.evictions)))
	t.near("/metrics: kv_block_lifetime_seconds_sum (0.1 %)", in.metrics[lifetime], float64(sumLife)/1e9, 0.001)
	t.near("/metrics: kv_block_idle_before_evict_seconds_sum (0.1 %)", in.metrics[idle], float64(sumIdle)/1e9, 0.001)
}
