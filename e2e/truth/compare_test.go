package main

import (
	"strings"
	"testing"

	"github.com/go-quicktest/qt"

	"github.com/pmtrace/pmtrace/decode/record"
)

func p[T any](v T) *T { return &v }

// made is a small session of a server with 5 blocks that is right in every
// check: request 0 computes 10 prompt tokens, hands out 3 and ends by length;
// request 1 (with 4 cached tokens) is preempted after its prompt, begins anew
// in a block of before, and ends by stop. Times are ms of the session.
func made() *input {
	const ms = 1_000_000
	step := func(id int64, at int64, phase string, rows ...record.StepRequestRow) (record.StepRow, []record.StepRequestRow) {
		st := record.StepRow{
			StepID: id, Iteration: p(id), StartNS: at * ms, ScheduledNS: (at + 1) * ms, UpdateNS: p((at + 8) * ms), EndNS: p((at + 9) * ms),
			Phase: phase, KVTotal: p(int32(5)), OutputTokens: p(int32(0)), FinishedRequests: p(int32(0)),
			ContextRequests: p(int32(0)), ContextTokens: p(int32(0)), GenerationRequests: p(int32(0)), GenerationTokens: p(int32(0)),
		}
		for i := range rows {
			r := &rows[i]
			r.StepID, r.PromptTokens = id, p(int32(10))
			st.Requests++
			st.Tokens += r.Scheduled
			*st.OutputTokens += *r.OutputTokens
			switch r.Kind {
			case record.KindPrefill:
				st.PrefillRequests++
				st.PrefillTokens += r.Scheduled
				*st.ContextRequests++
				*st.ContextTokens += r.Scheduled
			case record.KindDecode:
				st.DecodeRequests++
				st.DecodeTokens += r.Scheduled
				*st.GenerationRequests++
				*st.GenerationTokens += r.Scheduled
			case record.KindRecompute:
				st.RecomputeRequests++
				st.RecomputeTokens += r.Scheduled
				*st.GenerationRequests++
				*st.GenerationTokens += r.Scheduled
			}
		}
		return st, rows
	}
	row := func(uid int64, kind string, computed, scheduled, output int32) record.StepRequestRow {
		return record.StepRequestRow{RequestUID: uid, Kind: kind, Computed: p(computed), Scheduled: scheduled, OutputTokens: p(output)}
	}
	in := &input{hasLog: true, fresh: true}
	s := &in.session
	s.facts.Start.MonoNS = 1e9
	s.facts.Engines = []record.Engine{{
		VLLM: "0.32.0", MonoNS: 1e9, Blocks: 6, FreeBlocks: 5, Caching: true,
		Watches: []string{"schedule_return", "free_blocks", "update_return", "update_entry"},
	}}
	add := func(st record.StepRow, rows []record.StepRequestRow) {
		s.steps = append(s.steps, st)
		s.rows = append(s.rows, rows...)
	}
	add(step(0, 10, record.PhasePrefill, row(0, record.KindPrefill, 0, 10, 1), row(1, record.KindPrefill, 4, 6, 1)))
	add(step(1, 20, record.PhaseDecode, row(0, record.KindDecode, 10, 1, 1)))
	add(step(2, 30, record.PhaseMixed, row(0, record.KindDecode, 11, 1, 1), row(1, record.KindRecompute, 4, 7, 1)))
	add(step(3, 40, record.PhaseDecode, row(1, record.KindDecode, 11, 1, 1)))
	s.steps[0].NewRequests = 2
	s.steps[1].Preempted = 1
	s.steps[2].ResumedRequests = 1
	*s.steps[2].FinishedRequests = 1
	*s.steps[3].FinishedRequests = 1

	// Blocks 1 and 2 for request 0, 3 and 4 for request 1, which loses them;
	// it gets 4 again, by its content, and 3 anew.
	op := func(at int64, kind string, free int32, hashed bool, blocks ...int32) {
		id := int64(len(s.usage))
		s.usage = append(s.usage, record.KVUsageRow{OpID: id, TimeNS: at * ms, Op: kind, Blocks: int32(len(blocks)), FreeAfter: &free})
		for _, b := range blocks {
			s.blocks = append(s.blocks, record.KVBlockRow{OpID: id, TimeNS: at * ms, Op: kind, BlockID: b, HadHash: hashed})
		}
	}
	op(10, record.KVAlloc, 3, false, 1, 2)
	op(11, record.KVAlloc, 1, false, 3, 4)
	op(20, record.KVFree, 3, true, 3, 4)
	op(30, record.KVReuse, 2, true, 4)
	op(31, record.KVAlloc, 1, true, 3)
	op(38, record.KVFree, 3, true, 1, 2)
	op(48, record.KVFree, 5, true, 3, 4)
	for i, used := range []int32{4, 2, 4, 2} {
		s.steps[i].KVUsed = p(used)
	}
	s.evictions = []record.KVEvictionRow{{
		OpID: 4, BlockID: 3, TimeNS: 31 * ms, HadHash: true, BirthKnown: true, LifetimeNS: 20 * ms, IdleNS: 20 * ms, BirthNS: p(int64(11 * ms)),
	}}
	s.preemptions = []record.PreemptionRow{{
		StepID: 1, RequestUID: 1, RequestID: "b-12345678", TimeNS: 20 * ms, Reason: "kv_blocks", Computed: p(int32(10)),
		ResumedNS: p(int64(30 * ms)), ResumedStep: p(int64(2)),
	}}
	s.requests = []record.RequestRow{{
		RequestUID: 0, RequestID: "a-12345678", ExternalID: "a", ArrivalNS: p(int64(5 * ms)), ScheduledNS: p(int64(10 * ms)),
		FirstTokNS: p(int64(19 * ms)), FinishedNS: p(int64(39 * ms)), Reason: p("length"), PromptTokens: p(int32(10)),
		CachedTokens: p(int32(0)), OutputTokens: p(int32(3)), Steps: 3, Scheduled: 12, FromStart: true,
	}, {
		RequestUID: 1, RequestID: "b-12345678", ExternalID: "b", ArrivalNS: p(int64(6 * ms)), ScheduledNS: p(int64(10 * ms)),
		FirstTokNS: p(int64(19 * ms)), FinishedNS: p(int64(49 * ms)), Reason: p("stop"), PromptTokens: p(int32(10)),
		CachedTokens: p(int32(4)), OutputTokens: p(int32(3)), Steps: 3, Scheduled: 14, FromStart: true, Preemptions: 1,
	}}
	in.log = []iteration{
		{number: 0, ctxRequests: 2, ctxTokens: 16, usagePct: 80, hasUsage: true},
		{number: 1, genRequests: 1, genTokens: 1, usagePct: 40, hasUsage: true},
		{number: 2, genRequests: 2, genTokens: 8, usagePct: 40, hasUsage: true},
		{number: 3, genRequests: 1, genTokens: 1, usagePct: 0, hasUsage: true},
	}
	in.clients = []client{
		{ClientID: "a", ExternalID: "a", Kind: "length", Prompt: 10, MaxTokens: 3, Completion: 3, Cached: p(int32(0)), Reason: "length", Sent: 1.004, First: p(1.0195), Last: p(1.040)},
		{ClientID: "b", ExternalID: "b", Kind: "eos", Prompt: 10, MaxTokens: 9, Completion: 3, Cached: p(int32(4)), Reason: "stop", Sent: 1.005, Last: p(1.050)},
	}
	in.metrics = metrics{
		"vllm:prompt_tokens_total": 20, "vllm:prompt_tokens_cached_total": 4, "vllm:generation_tokens_total": 6,
		"vllm:num_preemptions_total": 1, "vllm:request_success_total{finished_reason=stop}": 1,
		"vllm:request_success_total{finished_reason=length}": 1, "vllm:request_success_total{finished_reason=abort}": 0,
		"vllm:iteration_tokens_total_count": 4, "vllm:iteration_tokens_total_sum": 22,
		"vllm:prefix_cache_queries_total": 20, "vllm:prefix_cache_hits_total": 4,
		"vllm:kv_block_lifetime_seconds_count": 1, "vllm:kv_block_lifetime_seconds_sum": 0.02,
		"vllm:kv_block_idle_before_evict_seconds_sum": 0.02,
	}
	return in
}

func TestAllRight(t *testing.T) {
	table := compare(made())
	var out strings.Builder
	table.print(&out)
	qt.Check(t, qt.Equals(table.mismatches(), 0), qt.Commentf("%s", out.String()))
	for _, c := range table.checks {
		qt.Check(t, qt.Equals(c.skipped, ""), qt.Commentf("%s", c.name))
	}
}

// TestEachCheckFails plants one mistake at a time: the check must see it.
func TestEachCheckFails(t *testing.T) {
	type plant struct {
		check string
		do    func(*input)
	}
	plants := []plant{
		{"log: iterations = steps with tokens", func(in *input) { in.log = in.log[:3] }},
		{"log: iteration number a step", func(in *input) { in.session.steps[2].Iteration = nil }},
		{"log: iteration number a step", func(in *input) { in.log[1].number = 7 }},
		{"log: tokens a step", func(in *input) { in.log[0].ctxTokens++ }},
		{"log: requests a step", func(in *input) { in.log[2].genRequests++ }},
		{"log: context and generation a step", func(in *input) { in.log[2].ctxRequests, in.log[2].genRequests = 1, 1 }},
		{"log: context and generation a step", func(in *input) { in.session.steps[0].ContextTokens = nil }},
		{"log: KV usage after a step (± 0.05 points)", func(in *input) { in.log[1].usagePct = 40.1 }},
		{"log: KV usage after a step (± 0.05 points)", func(in *input) { in.session.steps[3].EndNS = nil }},

		{"client: request ids in requests", func(in *input) {
			in.clients = append(in.clients, client{ExternalID: "c", Kind: "length", Reason: "length", Last: p(2.0)})
		}},
		{"client: request ids used once", func(in *input) { in.session.requests[0].ExternalID = "b" }},
		{"client: requests are a client's", func(in *input) { in.session.requests[0].ExternalID = "x" }},
		{"client: requests finished", func(in *input) { in.session.requests[0].FinishedNS = nil }},
		{"client: finish reason", func(in *input) { in.clients[0].Reason = "stop" }},
		{"client: finish reason", func(in *input) { in.session.requests[0].Reason = nil }},
		{"client: prompt tokens", func(in *input) { in.clients[0].Prompt++ }},
		{"client: output tokens", func(in *input) { in.clients[0].Completion++ }},
		{"client: output tokens", func(in *input) { in.clients[0].Reason, in.clients[0].Completion = "abort", 4 }},
		{"client: cached tokens", func(in *input) { in.clients[1].Cached = p(int32(0)) }},
		{"client: sent before arrival", func(in *input) { in.clients[0].Sent = 1.02 }},
		{"client: first token before it got there", func(in *input) { in.clients[0].First = p(1.0185) }},
		{"client: finished before the last token got there", func(in *input) { in.clients[1].Last = p(1.0485) }},

		{"/metrics: prompt_tokens_total", func(in *input) { in.metrics["vllm:prompt_tokens_total"]++ }},
		{"/metrics: prompt_tokens_cached_total", func(in *input) { in.metrics["vllm:prompt_tokens_cached_total"]++ }},
		{"/metrics: generation_tokens_total", func(in *input) { in.metrics["vllm:generation_tokens_total"]-- }},
		{"/metrics: num_preemptions_total", func(in *input) { in.metrics["vllm:num_preemptions_total"] = 0 }},
		{"/metrics: request_success_total{finished_reason=stop}", func(in *input) { in.session.requests[1].Reason = p("length") }},
		{"/metrics: request_success_total{finished_reason=length}", func(in *input) { in.metrics["vllm:request_success_total{finished_reason=length}"]++ }},
		{"/metrics: request_success_total{finished_reason=abort}", func(in *input) { in.metrics["vllm:request_success_total{finished_reason=abort}"]++ }},
		{"/metrics: iteration_tokens_total_count", func(in *input) { in.metrics["vllm:iteration_tokens_total_count"]++ }},
		{"/metrics: iteration_tokens_total_sum", func(in *input) { in.metrics["vllm:iteration_tokens_total_sum"] = 26 }},
		{"/metrics: prefix_cache_queries_total", func(in *input) { in.metrics["vllm:prefix_cache_queries_total"]++ }},
		{"/metrics: prefix_cache_hits_total", func(in *input) { in.metrics["vllm:prefix_cache_hits_total"]++ }},
		{"/metrics: kv_block_lifetime_seconds_count", func(in *input) { in.metrics["vllm:kv_block_lifetime_seconds_count"]++ }},
		{"/metrics: kv_block_lifetime_seconds_sum (0.1 %)", func(in *input) { in.metrics["vllm:kv_block_lifetime_seconds_sum"] *= 1.002 }},
		{"/metrics: kv_block_idle_before_evict_seconds_sum (0.1 %)", func(in *input) { in.metrics["vllm:kv_block_idle_before_evict_seconds_sum"] *= 0.998 }},
		{"evictions: births known", func(in *input) { in.session.evictions[0].BirthKnown = false }},

		{"engines", func(in *input) { in.engines = 2 }},
		{"asynchronous scheduling", func(in *input) { in.async = true }},
		{"steps: ids follow each other", func(in *input) { in.session.steps[2].StepID = 5 }},
		{"steps: times in order", func(in *input) { in.session.steps[1].UpdateNS = p(int64(0)) }},
		{"steps: requests and tokens are the sums of step_requests", func(in *input) { in.session.steps[1].Tokens++ }},
		{"steps: kinds are the sums of step_requests", func(in *input) { in.session.steps[1].DecodeTokens++ }},
		{"steps: phase follows from the kinds", func(in *input) { in.session.steps[2].Phase = record.PhaseDecode }},
		{"steps: output tokens are the sum of step_requests", func(in *input) { in.session.steps[2].OutputTokens = nil }},
		{"step_requests: have a step and a request", func(in *input) { in.session.rows[1].RequestUID = 9 }},
		{"steps: new requests = requests seen from their start", func(in *input) { in.session.steps[0].NewRequests = 1 }},
		{"steps: resumed requests = preemptions resumed", func(in *input) { in.session.steps[2].ResumedRequests = 0 }},
		{"steps: finished requests = requests that ended by themselves", func(in *input) { in.session.steps[3].FinishedRequests = nil }},

		{"requests: finished", func(in *input) { in.session.requests[0].FinishedNS = nil }},
		{"requests: times in order", func(in *input) { in.session.requests[0].FirstTokNS = p(int64(9)) }},
		{"requests: times in order", func(in *input) { in.session.requests[0].ArrivalNS = p(int64(30_000_000)) }},
		{"requests: steps and tokens are the sums of step_requests", func(in *input) { in.session.requests[0].Steps++ }},
		{"requests: each step goes on where the one before ended", func(in *input) { in.session.rows[2].Computed = p(int32(11)) }},
		{"requests: each step goes on where the one before ended", func(in *input) { in.session.requests[0].CachedTokens = p(int32(2)) }},
		{"requests: each step goes on where the one before ended", func(in *input) { in.session.rows[0].Computed = nil }},
		{"requests: prefill until the prompt is computed, then decode", func(in *input) { in.session.rows[2].Kind = record.KindPrefill }},
		{"requests: scheduled = prompt - cached + output - 1", func(in *input) { in.session.requests[0].Scheduled++ }},
		{"requests: scheduled = prompt - cached + output - 1", func(in *input) { in.session.requests[0].OutputTokens = p(int32(4)) }},
		{"requests: scheduled = prompt - cached + output - 1", func(in *input) { in.session.rows[5].Scheduled = 2 }},
		{"requests: seen from the start unless they ran at attach", func(in *input) { in.session.requests[0].FromStart = false }},
		{"preemptions: request, step and times fit", func(in *input) { in.session.preemptions[0].Computed = p(int32(4)) }},
		{"preemptions: request, step and times fit", func(in *input) { in.session.preemptions[0].ResumedStep = p(int64(9)) }},
		{"preemptions: as many as steps.preempted says", func(in *input) { in.session.steps[1].Preempted = 0 }},
		{"preemptions: as many as requests.preemptions says", func(in *input) { in.session.requests[0].Preemptions = 1 }},

		{"kv: each operation goes on from the one before", func(in *input) { *in.session.usage[3].FreeAfter = 1 }},
		{"kv: each operation goes on from the one before", func(in *input) { in.session.usage[3].OpID = 9 }},
		{"kv: kv_used_blocks of a step = the operations' counter", func(in *input) { in.session.steps[2].KVUsed = p(int32(3)) }},
		{"kv: kv_blocks lists as many as kv_usage counts", func(in *input) { in.session.blocks = in.session.blocks[:len(in.session.blocks)-1] }},
		{"kv: no block handed out twice or freed twice", func(in *input) { in.session.blocks[1].BlockID = 1 }},
		{"kv: blocks in use = total - free (where all were free at attach)", func(in *input) { *in.session.usage[0].FreeAfter = 4 }},
		{"evictions: a row for each block handed out again", func(in *input) { in.session.evictions = nil }},
		{"evictions: a row for each block handed out again", func(in *input) { in.session.evictions[0].BlockID = 2 }},
		{"evictions: lifetime and idle time", func(in *input) { in.session.evictions[0].LifetimeNS++ }},
		{"evictions: lifetime and idle time", func(in *input) { in.session.evictions[0].IdleNS = 21_000_000 }},
		{"losses: none in the table", func(in *input) {
			in.session.losses = []record.LossRow{{Probe: "ring", Reason: "full", Count: 3}}
		}},
		{"losses: none by the counters", func(in *input) {
			in.session.facts.Losses = []record.Loss{{Probe: "ring", Reason: "full", Count: 3, Lost: true}}
		}},
	}
	seen := map[string]bool{}
	for _, plant := range plants {
		in := made()
		plant.do(in)
		seen[plant.check] = true
		c := find(compare(in), plant.check)
		if qt.Check(t, qt.IsNotNil(c), qt.Commentf("%s", plant.check)) {
			qt.Check(t, qt.Not(qt.Equals(c.differ, 0)), qt.Commentf("%s: not seen", plant.check))
			qt.Check(t, qt.Not(qt.HasLen(c.first, 0)))
		}
	}
	for _, c := range compare(made()).checks {
		if c.name != "evictions: births before attach are marked" {
			qt.Check(t, qt.IsTrue(seen[c.name]), qt.Commentf("%s: nothing is planted for it", c.name))
		}
	}
}

func find(t *table, name string) *check {
	for _, c := range t.checks {
		if c.name == name {
			return c
		}
	}
	return nil
}

// TestMidload begins at step 1 of the log: the numbers are not known, request 1
// waits, preempted, and request 0 runs.
func midload() *input {
	in := made()
	in.midload, in.fresh, in.metrics = true, false, nil
	s := &in.session
	s.steps, s.rows = s.steps[1:], s.rows[2:]
	for i := range s.steps {
		s.steps[i].StepID = int64(i)
		s.steps[i].Iteration = nil
	}
	for i := range s.rows {
		s.rows[i].StepID--
	}
	s.steps[0].Preempted = 0
	s.preemptions = nil
	s.engine().FreeBlocks = 3
	s.engine().MonoNS += 15_000_000
	s.usage, s.blocks = s.usage[3:], s.blocks[6:]
	s.evictions[0].BirthKnown, s.evictions[0].BirthNS = false, nil
	for i := range s.requests {
		r := &s.requests[i]
		r.FromStart, r.CachedTokens, r.ScheduledNS, r.FirstTokNS, r.Steps = false, nil, nil, nil, 2
	}
	s.requests[0].Scheduled, s.requests[1].Scheduled = 2, 8
	return in
}

func TestMidload(t *testing.T) {
	table := compare(midload())
	var out strings.Builder
	table.print(&out)
	qt.Check(t, qt.Equals(table.mismatches(), 0), qt.Commentf("%s", out.String()))
}

func TestMidloadMarks(t *testing.T) {
	for name, do := range map[string]func(*input){
		"evictions: births before attach are marked":              func(in *input) { in.session.evictions[0].BirthKnown = true },
		"requests: seen from the start unless they ran at attach": func(in *input) { in.session.requests[0].FromStart = true },
		"log: iteration number a step":                            func(in *input) { in.session.steps[0].Iteration = p(int64(9)) },
		"log: places where the steps fit best": func(in *input) {
			for i := range in.session.steps {
				in.session.steps[i].Tokens += 100
			}
		},
	} {
		in := midload()
		do(in)
		c := find(compare(in), name)
		if qt.Check(t, qt.IsNotNil(c), qt.Commentf("%s", name)) {
			qt.Check(t, qt.Not(qt.Equals(c.differ, 0)), qt.Commentf("%s", name))
		}
	}
}

// TestHungUp: a client that hung up makes bounds of the frontend's counters.
func TestHungUp(t *testing.T) {
	in := made()
	in.clients[0].Reason, in.clients[0].Completion = "abort", 1
	in.session.requests[0].Reason = p("abort")
	in.session.steps[2].FinishedRequests = p(int32(0))
	in.metrics["vllm:generation_tokens_total"] = 4
	in.metrics["vllm:iteration_tokens_total_sum"] = 20
	in.metrics["vllm:request_success_total{finished_reason=length}"] = 0
	qt.Check(t, qt.Equals(compare(in).mismatches(), 0))
	in.metrics["vllm:generation_tokens_total"] = 3
	qt.Check(t, qt.Equals(compare(in).mismatches(), 1))
}

// TestStopsLate: with asynchronous scheduling a request that stops is scheduled
// once more.
func TestStopsLate(t *testing.T) {
	late := func(async bool, reason string, extra int32) int {
		r := record.RequestRow{
			PromptTokens: p(int32(10)), CachedTokens: p(int32(0)), OutputTokens: p(int32(1)), Reason: &reason,
			Scheduled: 10 + int64(extra), FromStart: true,
		}
		rows := []*record.StepRequestRow{
			{Kind: record.KindPrefill, Computed: p(int32(0)), Scheduled: 10, OutputTokens: p(int32(1)), PromptTokens: p(int32(10))},
			{StepID: 1, Kind: record.KindDecode, Computed: p(int32(10)), Scheduled: extra, OutputTokens: p(int32(0)), PromptTokens: p(int32(10))},
		}
		h := historyOf(&r, rows)
		return len(h.account(&r, async))
	}
	qt.Check(t, qt.Equals(late(true, "stop", 1), 0))
	qt.Check(t, qt.Not(qt.Equals(late(true, "stop", 2), 0)))
	qt.Check(t, qt.Not(qt.Equals(late(true, "length", 1), 0)))
	qt.Check(t, qt.Not(qt.Equals(late(false, "stop", 1), 0)))
	qt.Check(t, qt.Equals(late(false, "abort", 1), 0))
	qt.Check(t, qt.Not(qt.Equals(late(false, "abort", 2), 0)))
}

// TestDrafts: of 3 drafts one is right, so that the next step begins 2 tokens before the end of the last.
func TestDrafts(t *testing.T) {
	account := func(next int32) (string, string) {
		r := record.RequestRow{
			PromptTokens: p(int32(10)), CachedTokens: p(int32(0)), OutputTokens: p(int32(4)), Reason: p("length"),
			Scheduled: 15, FromStart: true,
		}
		h := historyOf(&r, []*record.StepRequestRow{
			{Kind: record.KindPrefill, Computed: p(int32(0)), Scheduled: 10, OutputTokens: p(int32(1)), PromptTokens: p(int32(10))},
			{StepID: 1, Kind: record.KindDecode, Computed: p(int32(10)), Scheduled: 4, DraftTokens: 3, OutputTokens: p(int32(2)), PromptTokens: p(int32(10))},
			{StepID: 2, Kind: record.KindDecode, Computed: p(next), Scheduled: 1, OutputTokens: p(int32(1)), PromptTokens: p(int32(10))},
		})
		return h.account(&r, false), h.broken
	}
	work, chain := account(12)
	qt.Check(t, qt.Equals(work, ""))
	qt.Check(t, qt.Equals(chain, ""))
	_, chain = account(14)
	qt.Check(t, qt.Equals(chain, "step 2 begins at 14, the one before ended at 12"))
}

// TestOldVersion: before 0.25 the sum has cached prompt tokens, before 0.28
// look-ups are counted again and again.
func TestOldVersion(t *testing.T) {
	in := made()
	in.session.engine().VLLM = "0.17.1"
	in.metrics["vllm:iteration_tokens_total_sum"] = 26
	in.metrics["vllm:prefix_cache_queries_total"] = 60
	in.metrics["vllm:prefix_cache_hits_total"] = 12
	for i := range in.log {
		in.log[i].hasUsage = false
	}
	table := compare(in)
	qt.Check(t, qt.Equals(table.mismatches(), 0))
	qt.Check(t, qt.Not(qt.Equals(find(table, "log: KV usage after a step (± 0.05 points)").skipped, "")))
}

func TestPrint(t *testing.T) {
	in := made()
	in.log[0].ctxTokens = 99
	var out strings.Builder
	compare(in).print(&out)
	qt.Check(t, qt.StringContains(out.String(), "log: tokens a step "))
	qt.Check(t, qt.StringContains(out.String(), "  step 0 (iteration 0): want 99, got 16\n"))
}

func TestRunUsage(t *testing.T) {
	var out, errs strings.Builder
	qt.Check(t, qt.Equals(run(&out, &errs, nil), 2))
	qt.Check(t, qt.Equals(run(&out, &errs, []string{"--session", "x", "--before", "y"}), 2))
	qt.Check(t, qt.Equals(run(&out, &errs, []string{"--session", t.TempDir()}), 2))
	qt.Check(t, qt.StringContains(errs.String(), "truth: give --session DIR"))
}

// TestKilled: the last step of a server that was killed need not be in its log,
// nor its clients' last tokens with them.
func TestKilled(t *testing.T) {
	in := made()
	in.metrics, in.cut, in.killed = nil, true, true
	in.log = in.log[:3]
	in.clients[1].Error, in.clients[1].Reason, in.clients[1].Completion = "connection lost", "", 2
	table := compare(in)
	var out strings.Builder
	table.print(&out)
	qt.Check(t, qt.Equals(table.mismatches(), 0), qt.Commentf("%s", out.String()))
	in.log = in.log[:2]
	c := find(compare(in), "log: iterations = steps with tokens")
	qt.Check(t, qt.IsTrue(c == nil || c.differ > 0))
}

// lossy has no step 1, and does not know what request 1 did in step 2.
func lossy() *input {
	in := made()
	in.lossy, in.metrics = true, nil
	s := &in.session
	s.losses = []record.LossRow{{Probe: "ring", Reason: "full", Count: 4}}
	s.facts.Losses = []record.Loss{{Probe: "ring", Reason: "full", Count: 4, Lost: true}}
	s.steps = append(s.steps[:1:1], s.steps[2:]...)
	s.steps[1].Phase, s.steps[1].ContextRequests, s.steps[1].Iteration = record.PhaseUnknown, nil, nil
	s.rows = append(s.rows[:2:2], s.rows[3], s.rows[5])
	for i := range s.requests {
		r := &s.requests[i]
		r.Steps, r.Scheduled, r.OutputTokens, r.Reason = 2, []int64{11, 7}[i], nil, nil
	}
	return in
}

func TestLossy(t *testing.T) {
	table := compare(lossy())
	var out strings.Builder
	table.print(&out)
	qt.Check(t, qt.Equals(table.mismatches(), 0), qt.Commentf("%s", out.String()))
	seen := map[string]bool{}
	for _, plant := range []struct {
		check string
		do    func(*input)
	}{
		{"losses: some", func(in *input) { in.session.losses = nil }},
		{"losses: all that was counted is in the table", func(in *input) { in.session.facts.Losses[0].Count = 5 }},
		{"log: each step with tokens has its line, in order", func(in *input) { in.session.steps[1].Tokens++ }},
		{"log: each step with tokens has its line, in order", func(in *input) { in.session.steps[1].StepID = 1 }},
		{"log: iteration number a step, or null", func(in *input) { in.session.steps[1].Iteration = p(int64(1)) }},
		{"steps: no fewer than step_requests has", func(in *input) { in.session.steps[0].Requests = 1 }},
		{"steps: phase follows from the kinds, or is unknown", func(in *input) { in.session.steps[0].Phase = record.PhaseDecode }},
		{"steps: times in order", func(in *input) { in.session.steps[0].EndNS = p(int64(1)) }},
		{"steps: ids rise", func(in *input) { in.session.steps[1].StepID = 0 }},
		{"requests: steps and tokens are the sums of step_requests", func(in *input) { in.session.requests[0].Steps = 3 }},
		{"requests: times in order", func(in *input) { in.session.requests[0].FinishedNS = p(int64(1)) }},
		{"requests: kinds right or unknown", func(in *input) { in.session.rows[0].Kind = record.KindDecode }},
		{"requests: kinds right or unknown", func(in *input) { in.session.rows[2].Kind = record.KindRecompute }},
		{"kv: free blocks within the pool", func(in *input) { *in.session.usage[0].FreeAfter = 6 }},
		{"evictions: births that are known were seen", func(in *input) { in.session.evictions[0].BirthNS = p(int64(12_000_000)) }},
		{"client: finish reason, or null", func(in *input) { in.session.requests[0].Reason = p("stop") }},
		{"client: prompt tokens, or null", func(in *input) { in.session.requests[0].PromptTokens = p(int32(11)) }},
		{"client: output tokens, or null", func(in *input) { in.session.requests[0].OutputTokens = p(int32(2)) }},
		{"client: cached tokens, or null", func(in *input) { in.session.requests[0].CachedTokens = p(int32(2)) }},
		{"client: requests are a client's", func(in *input) { in.session.requests[0].ExternalID = "x" }},
	} {
		in := lossy()
		plant.do(in)
		seen[plant.check] = true
		c := find(compare(in), plant.check)
		if qt.Check(t, qt.IsNotNil(c), qt.Commentf("%s", plant.check)) {
			qt.Check(t, qt.Not(qt.Equals(c.differ, 0)), qt.Commentf("%s: not seen", plant.check))
		}
	}
	for _, c := range table.checks {
		qt.Check(t, qt.IsTrue(seen[c.name]), qt.Commentf("%s: nothing is planted for it", c.name))
	}
}
