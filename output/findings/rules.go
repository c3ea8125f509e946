package findings

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/pmtrace/pmtrace/decode/record"
)

// eventsLost is the rule whose finding comes first.
const eventsLost = "events_lost"

// rules are what is looked for. Each has a test on a session made to have it, and all
// on one made not to.
var rules = []struct {
	name string
	find func(*figures) *Finding
}{
	{eventsLost, lost},
	{"kv_cache_too_small", kvTooSmall},
	{"max_num_seqs_binds", seqsBind},
	{"max_num_batched_tokens_binds", tokensBind},
	{"prefill_delays_decode", prefillDelays},
	{"gpu_waits_for_host", hostBound},
	{"steps_without_graphs", graphsMissed},
	{"padding", padding},
	{"low_bandwidth", lowBandwidth},
	{"gpu_throttled", throttled},
	{"gpu_shared", shared},
	{"experts_uneven", expertsUneven},
	{"prefix_cache_useless", prefixUseless},
	{"kv_cache_too_large", kvTooLarge},
	{"max_model_len_unused", lengthUnused},
}

// From what on something is worth a line.
const (
	worthCost      = 0.02 // of the time of all requests
	worthDelay     = 0.05
	worthIdle      = 0.15 // of the GPU's time in steps and between them
	worthEager     = 0.05 // of the decode steps
	worthPadding   = 0.10 // of the tokens computed in graphs
	worthRecompute = 0.005
	enoughRequests = 50
	enoughSteps    = 100
	longLimit      = 8192 // tokens
)

func share(of, all float64) float64 {
	if all <= 0 {
		return 0
	}
	return min(of/all, 1)
}

func pct(x float64) string { return fmt.Sprintf("%.1f %%", 100*x) }

func ms(ns float64) string { return fmt.Sprintf("%.2f ms", ns/1e6) }

func lost(f *figures) *Finding {
	if f.lost == 0 {
		return nil
	}
	return &Finding{
		Title:    fmt.Sprintf("%d events were lost: what is said below rests on the others", f.lost),
		Evidence: []string{"the table losses has when, of which probe and why"},
		Change:   "a larger --ring-size, or fewer profilers",
	}
}

func kvTooSmall(f *figures) *Finding {
	cost := share(f.waitKV+f.preempted, f.total)
	again := share(float64(f.recomputed), float64(f.tokens))
	if f.full.n == 0 || cost < worthCost && again < worthRecompute {
		return nil
	}
	n := float64(f.full.n)
	// All who waited would have needed as much as those that ran.
	need := f.full.usage / n * (1 + share1(f.full.waiting, f.full.running))
	found := &Finding{
		Title: "Requests wait for KV cache, or are thrown out of it",
		Cost:  &cost,
		Evidence: []string{fmt.Sprintf("in %d of %d steps the cache was full (%s of it in use on average) while %.0f requests waited beside %.0f that ran",
			f.full.n, f.steps, pct(f.full.usage/n), f.full.waiting/n, f.full.running/n)},
		Change: fmt.Sprintf("give the KV cache about %.1f times its size (--gpu-memory-utilization, --kv-cache-memory-bytes, --kv-cache-dtype fp8, more GPUs), "+
			"or let fewer run at once: --max-num-seqs %.0f", need, math.Max(1, math.Floor(f.full.running/n))),
	}
	if f.preemptions > 0 {
		found.Evidence = append(found.Evidence, fmt.Sprintf("%d preemptions: requests were out for %s in all, and %d tokens were computed again (%s of all)",
			f.preemptions, time.Duration(f.preempted).Round(time.Millisecond), f.recomputed, pct(again)))
	}
	return found
}

// share1 is a ratio that may be above 1.
func share1(a, b float64) float64 {
	if b <= 0 {
		return 0
	}
	return a / b
}

// limit is the highest that an engine has.
func (f *figures) limit(of func(*record.Engine) int) int {
	highest := 0
	for i := range f.facts.Engines {
		highest = max(highest, of(&f.facts.Engines[i]))
	}
	return highest
}

func seqsBind(f *figures) *Finding {
	cost := share(f.waitSeqs, f.total)
	if cost < worthCost {
		return nil
	}
	limit := f.limit(func(e *record.Engine) int { return e.MaxSeqs })
	return &Finding{
		Title:    fmt.Sprintf("Requests wait although there is memory for them: --max-num-seqs is %d", limit),
		Cost:     &cost,
		Evidence: []string{fmt.Sprintf("the KV cache was never more than %s in use", pct(f.peakKV))},
		Change:   fmt.Sprintf("--max-num-seqs %d (with capture sizes up to it)", 2*limit),
	}
}

func tokensBind(f *figures) *Finding {
	cost := share(f.waitTokens, f.total)
	if cost < worthCost {
		return nil
	}
	limit := f.limit(func(e *record.Engine) int { return e.MaxTokens })
	return &Finding{
		Title:    fmt.Sprintf("Prompts wait for room in the steps: --max-num-batched-tokens is %d", limit),
		Cost:     &cost,
		Evidence: []string{"requests waited while steps computed as many tokens as they may"},
		Change: fmt.Sprintf("--max-num-batched-tokens %d gets prompts through sooner, at the price of longer steps for those that decode; "+
			"if it is always so, more GPUs", 2*limit),
	}
}

func prefillDelays(f *figures) *Finding {
	m := &f.mixed
	cost := share(m.extra, f.total)
	if m.n < 10 || cost < worthDelay {
		return nil
	}
	found := &Finding{
		Title: "Prompts of others delay the tokens of requests that decode",
		Cost:  &cost,
		Evidence: []string{
			fmt.Sprintf("%s of the output tokens came from steps that computed prompts as well: these took %s at the median and %s at p99, %s longer than decode steps of as many requests on average",
				pct(share(float64(m.outputs), float64(f.outputs))), ms(m.time.Percentile(50)), ms(m.time.Percentile(99)), ms(m.surplus/float64(m.n))),
		},
	}
	perToken := share1(m.surplus, m.tokens)
	found.Change = "--long-prefill-token-threshold, or prefill on servers of its own"
	usual := f.usualDecode()
	if perToken <= 0 || usual <= 0 {
		return found
	}
	found.Evidence = append(found.Evidence, fmt.Sprintf("%.0f prompt tokens a step on average, each of which adds %.1f µs", m.tokens/float64(m.n), perToken/1e3))
	// As many tokens as make a decode step twice as long, in the steps that people set.
	budget := math.Max(512, math.Floor(usual/perToken/512)*512)
	if then := usual + budget*perToken; then < m.time.Percentile(99)/2 {
		found.Change = fmt.Sprintf("--max-num-batched-tokens %.0f: then a step with a prompt takes up to about %s (a decode step: %s), and the prompt itself longer; "+
			"or prefill on servers of its own", budget, ms(then), ms(usual))
	}
	return found
}

// usualDecode is the median time of decode steps, of the number of requests that most had.
func (f *figures) usualDecode() float64 {
	best := int64(0)
	t := 0.0
	for _, n := range slices.Sorted(maps.Keys(f.decode)) {
		if s := f.decode[n]; s.Count() > best {
			best, t = s.Count(), s.Percentile(50)
		}
	}
	return t
}

func hostBound(f *figures) *Finding {
	i := &f.idle
	idle := share(i.idle, i.idle+i.busy)
	cost := share(i.weight, f.total)
	if i.known < enoughSteps || idle < worthIdle || cost < worthCost {
		return nil
	}
	found := &Finding{
		Title: "The GPU waits for the host although requests are in the batch",
		Cost:  &cost,
		Evidence: []string{fmt.Sprintf("idle for %s of the time, %s before a step on average, against %s of work in it",
			pct(idle), ms(i.idle/float64(i.known)), ms(i.busy/float64(i.known)))},
	}
	if ops := f.topOperations(4); ops != "" {
		found.Evidence = append(found.Evidence, "on the CPU a step takes "+ops)
	}
	var change []string
	async := true
	for _, e := range f.facts.Engines {
		async = async && e.AsyncSched
	}
	if !async {
		change = append(change, "--async-scheduling, which prepares a step while the GPU works on the one before")
	}
	if f.graph.eagerDecode > f.graph.decode/20 {
		change = append(change, "CUDA graphs for the decode steps that have none (see there)")
	}
	change = append(change, "more requests at once a step (the GPU has room), a faster CPU core for the engine's process, or a server less on this machine's cores")
	found.Change = strings.Join(change, "; ")
	return found
}

// topOperations are the longest operations of a step on the CPU.
func (f *figures) topOperations(n int) string {
	names := slices.SortedFunc(maps.Keys(f.operations), func(a, b string) int {
		return cmp.Or(cmp.Compare(f.operationNS(b), f.operationNS(a)), cmp.Compare(a, b))
	})
	var out []string
	for _, name := range names[:min(n, len(names))] {
		out = append(out, fmt.Sprintf("%s %s", strings.ReplaceAll(name, "_", " "), ms(f.operationNS(name))))
	}
	return strings.Join(out, ", ")
}

// operationNS is an operation's mean time a step. Where launches and copies are watched in
// windows, what they tell is of the steps there.
func (f *figures) operationNS(name string) float64 {
	steps := f.steps
	if f.counted > 0 && name != "scheduling" && name != "update_from_output" {
		steps = f.counted
	}
	return f.operations[name].Total() / float64(max(steps, 1))
}

func graphsMissed(f *figures) *Finding {
	g := &f.graph
	missed := share(float64(g.eagerDecode), float64(g.decode))
	if g.decode < enoughSteps || missed < worthEager {
		return nil
	}
	found := &Finding{
		Title:    "Decode steps run without CUDA graphs",
		Evidence: []string{fmt.Sprintf("%d of %d (%s)", g.eagerDecode, g.decode, pct(missed))},
	}
	if g.idle > 0 {
		cost := share(g.idle, f.total)
		found.Cost = &cost
		found.Evidence = append(found.Evidence, "the cost is the time that the GPU was idle before them")
	}
	if len(g.captured) == 0 {
		found.Change = "do without --enforce-eager (or whatever switches graphs off: metadata.json has the command)"
		return found
	}
	sizes := slices.SortedFunc(maps.Keys(g.missed), func(a, b int32) int { return cmp.Or(cmp.Compare(g.missed[b], g.missed[a]), cmp.Compare(a, b)) })
	var list []string
	for _, n := range sizes[:min(5, len(sizes))] {
		list = append(list, fmt.Sprintf("%d tokens (%d steps)", n, g.missed[n]))
	}
	largest := slices.Max(slices.Collect(maps.Keys(g.captured)))
	found.Evidence = append(found.Evidence, fmt.Sprintf("most often with %s; the largest graph that was used is of %d", strings.Join(list, ", "), largest))
	found.Change = fmt.Sprintf("capture graphs up to %d tokens: --compilation-config '{\"max_cudagraph_capture_size\": %d}'", slices.Max(sizes), slices.Max(sizes))
	return found
}

func padding(f *figures) *Finding {
	g := &f.graph
	now := share(float64(g.padded-g.tokens), float64(g.padded))
	if g.padded == 0 || g.known < enoughSteps || now < worthPadding {
		return nil
	}
	best := bestSizes(g.sizes, max(len(g.captured), 1))
	then := share(float64(best.padded-g.tokens), float64(best.padded))
	if then > now/2 {
		return nil // sizes are as good as can be
	}
	var list []string
	for _, n := range best.sizes {
		list = append(list, fmt.Sprint(n))
	}
	return &Finding{
		Title:    "CUDA graphs compute padding",
		Evidence: []string{fmt.Sprintf("%s of the tokens computed in graphs (%d of %d), with %d sizes in use", pct(now), g.padded-g.tokens, g.padded, len(g.captured))},
		Change: fmt.Sprintf("as many sizes, for the batches that there were: --compilation-config '{\"cudagraph_capture_sizes\": [%s]}': %s padding",
			strings.Join(list, ", "), pct(then)),
	}
}

func lowBandwidth(f *figures) *Finding {
	b := &f.bound
	if b.mbuN < enoughSteps || share(float64(b.waited), float64(b.n)) < 0.8 {
		return nil
	}
	mbu := b.mbu / float64(b.mbuN)
	if mbu >= 0.4 {
		return nil
	}
	return &Finding{
		Title:    "Decode steps use little of the GPU's memory bandwidth",
		Evidence: []string{fmt.Sprintf("the model needs %s of it in %d decode steps that the host waited for", pct(mbu), b.mbuN)},
		Change:   "look at the kernels (pmtrace record, table kernels): another attention backend, a quantisation with faster kernels, or fewer GPUs a model",
	}
}

func throttled(f *figures) *Finding {
	if f.gpu.n < 20 || share(float64(f.gpu.throttled), float64(f.gpu.n)) < 0.05 {
		return nil
	}
	var reasons []string
	for _, r := range slices.Sorted(maps.Keys(f.gpu.reasons)) {
		reasons = append(reasons, fmt.Sprintf("%s %s", strings.ReplaceAll(r, "_", " "), pct(share(float64(f.gpu.reasons[r]), float64(f.gpu.n)))))
	}
	return &Finding{
		Title:    "The GPU holds its clocks back",
		Evidence: []string{"of the samples of a busy GPU: " + strings.Join(reasons, ", ")},
		Change:   "power limit (nvidia-smi -pl), cooling, or another GPU; sw power cap under full load is normal for a GPU at its limit",
	}
}

func shared(f *figures) *Finding {
	s := share(float64(f.gpu.shared), float64(f.gpu.n))
	if f.gpu.n < 20 || s < 0.05 {
		return nil
	}
	return &Finding{
		Title:    "Other processes compute on the same GPU",
		Evidence: []string{fmt.Sprintf("in %s of the samples; the GPU's times have no bound then", pct(s))},
		Change:   "a GPU of its own, or MIG",
	}
}

func expertsUneven(f *figures) *Finding {
	worst, layer, cold := 0.0, int32(0), 0
	for _, l := range slices.Sorted(maps.Keys(f.experts)) {
		sum, top := int64(0), int64(0)
		for _, n := range f.experts[l] {
			sum, top = sum+n, max(top, n)
			if n == 0 {
				cold++
			}
		}
		if mean := float64(sum) / float64(len(f.experts[l])); sum > 10_000 && float64(top)/mean > worst {
			worst, layer = float64(top)/mean, l
		}
	}
	if worst < 2 {
		return nil
	}
	found := &Finding{
		Title:    "Experts are chosen unevenly",
		Evidence: []string{fmt.Sprintf("in layer %d the most chosen one has %.1f times the mean", layer, worst)},
		Change:   "with expert parallelism: --enable-eplb, which puts copies of hot experts on other GPUs; on one GPU it costs little",
	}
	if cold > 0 {
		found.Evidence = append(found.Evidence, fmt.Sprintf("%d experts of all layers were never chosen", cold))
	}
	return found
}

func prefixUseless(f *figures) *Finding {
	hits := share(float64(f.cached), float64(f.prompt))
	caching := false
	for _, e := range f.facts.Engines {
		caching = caching || e.Caching
	}
	if !caching || f.requests < enoughRequests || hits >= 0.01 || f.evictions == 0 {
		return nil
	}
	return &Finding{
		Title:    "The prefix cache finds nothing",
		Evidence: []string{fmt.Sprintf("%s of %d prompt tokens came from it, and %d cached blocks were given away unused", pct(hits), f.prompt, f.evictions)},
		Change:   "nothing, if prompts have nothing in common; else put what they share first, and send requests of one user to one server",
	}
}

func kvTooLarge(f *figures) *Finding {
	if f.requests < enoughRequests || f.peakKV == 0 || f.peakKV > 0.25 {
		return nil
	}
	return &Finding{
		Title:    "Most of the KV cache is never used",
		Evidence: []string{fmt.Sprintf("at most %s of it was", pct(f.peakKV))},
		Change:   "nothing, if there are busier times; else a larger model or batch fits, or another process does (--gpu-memory-utilization)",
	}
}

func lengthUnused(f *figures) *Finding {
	limit := f.limit(func(e *record.Engine) int { return e.MaxModelLen })
	if f.requests < enoughRequests || f.longest == 0 || f.longest*4 > int64(limit) || limit < longLimit {
		return nil
	}
	return &Finding{
		Title:    fmt.Sprintf("No request comes near --max-model-len %d", limit),
		Evidence: []string{fmt.Sprintf("the longest had %d tokens", f.longest)},
		Change:   "nothing, if longer ones may come; a smaller one frees what is reserved for the longest request",
	}
}
