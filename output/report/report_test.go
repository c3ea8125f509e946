package report

import (
	"encoding/json"
	"testing"

	"github.com/go-quicktest/qt"

	"github.com/pmtrace/pmtrace/decode/record"
)

const (
	prefill   = record.KindPrefill
	decode    = record.KindDecode
	recompute = record.KindRecompute
)

var limits = map[int32]Limits{0: {MaxSeqs: 4, MaxTokens: 200, BlockSize: 10}}

func rows(r ...record.StepRequestRow) []record.StepRequestRow { return r }

// One step after the other: a queue for each of the reasons, a prefill that is
// shared, one of somebody else, and the host between.
func TestSynchronous(t *testing.T) {
	dir := sessionOf(t, []made{
		// Not there yet: nobody waits.
		{id: 0, start: 10, scheduled: 11, gpu: 12, gpuEnd: 18, update: 19, end: 20, rows: rows(in(9, decode, 1, 1)), running: 1},
		{id: 1, start: 20, scheduled: 21, gpu: 22, gpuEnd: 28, update: 29, end: 30, rows: rows(in(9, decode, 1, 1)), running: 4, waiting: 1},
		{id: 2, start: 30, scheduled: 31, gpu: 32, gpuEnd: 38, update: 39, end: 40, rows: rows(in(9, decode, 1, 1), in(8, prefill, 199, 0)), running: 2, waiting: 1, fresh: 1},
		{id: 3, start: 40, scheduled: 41, gpu: 42, gpuEnd: 48, update: 49, end: 50, rows: rows(in(9, decode, 1, 1)), running: 2, waiting: 1, kvUsed: 91},
		{id: 4, start: 50, scheduled: 51, gpu: 52, gpuEnd: 58, update: 59, end: 60, rows: rows(in(9, decode, 1, 1)), running: 2, waiting: 1},
		// Its own: 6 ms for the decode, the rest by tokens, half of it somebody else's.
		{id: 5, start: 60, scheduled: 61, gpu: 62, gpuEnd: 78, update: 79, end: 80, rows: rows(in(9, decode, 1, 1), in(1, prefill, 90, 1), in(7, prefill, 90, 1)), running: 3, fresh: 2},
		{id: 6, start: 81, scheduled: 82, gpu: 83, gpuEnd: 89, update: 90, end: 91, rows: rows(in(1, decode, 1, 1))},
		// Without a token, and then one behind a long prompt.
		{id: 7, start: 91, scheduled: 92, update: 93, end: 94},
		{id: 8, start: 94, scheduled: 95, gpu: 96, gpuEnd: 116, update: 118, end: 120, rows: rows(in(1, decode, 1, 1), in(6, prefill, 150, 0))},
	}, []record.RequestRow{
		asked(1, "mine", 5, 60, 80, 120, "length"), asked(6, "long", 90, 94, 0, 0, ""), asked(7, "other", 55, 60, 80, 80, "stop"),
	}, nil, []record.CPUOperationRow{
		{StepID: new(int64(8)), TimeNS: 94 * ms, DurNS: 1 * ms, Operation: "scheduling"},
		{StepID: new(int64(8)), TimeNS: 95 * ms, DurNS: 1 * ms, Operation: "prepare_inputs"},
		{StepID: new(int64(8)), TimeNS: 96 * ms, DurNS: 2 * ms, Operation: "forward_launch"}, // while the GPU runs
		{StepID: new(int64(8)), TimeNS: 98 * ms, DurNS: 19 * ms, Operation: "output_wait"},
		{StepID: new(int64(8)), TimeNS: 96 * ms, DurNS: 22 * ms, Operation: "model_execution"},
		{StepID: new(int64(8)), TimeNS: 118 * ms, DurNS: 2 * ms, Operation: "update_from_output"},
	})
	d, err := Explain(dir, "mine", 5, limits)
	qt.Assert(t, qt.IsNil(err))
	whole(t, &d.Request)
	parted(t, d.First, map[Part]int64{
		Frontend: 6, NextSchedule: 9, QueueSeqs: 10, QueueTokens: 10, QueueBlocks: 10, QueueOther: 10,
		OwnPrefill: 11, OthersPrefill: 5, HostOther: 4,
	})
	parted(t, d.After, map[Part]int64{
		Decode: 12, OthersPrefill: 14, Schedule: 1, Prepare: 1, OutputWait: 1, Update: 2, HostOther: 9,
	})
	qt.Check(t, qt.Equals(d.Compared, 2))
	qt.Check(t, qt.Equals(d.Shared, 0))
	qt.Check(t, qt.DeepEquals(d.Timings, map[string]int64{"cupti": 42 * ms}))

	qt.Assert(t, qt.HasLen(d.Slowest, 2))
	slow := d.Slowest[0]
	qt.Check(t, qt.Equals(slow.Token, 3))
	qt.Check(t, qt.Equals(slow.NS, 29*ms))
	qt.Check(t, qt.Equals(slow.Parts.Sum(), slow.NS))
	qt.Check(t, qt.Equals(slow.Beyond[OthersPrefill], 14*ms))
	qt.Check(t, qt.DeepEquals(slow.Steps, []GapStep{{
		StepID: 8, Own: true, WithinNS: 20 * ms, RunNS: 20 * ms, TimingSource: "cupti", Requests: 2, Tokens: 151, PrefillTokens: 150,
		Prefills: []Prefill{{6, "long", 150, "prefill"}},
	}}))
}

// The next step is scheduled, and runs, before the one before is handed out.
func TestAsynchronous(t *testing.T) {
	dir := sessionOf(t, []made{
		{id: 0, start: 1, scheduled: 2, gpu: 3, gpuEnd: 13, update: 14, end: 15, rows: rows(in(9, decode, 1, 1)), running: 1},
		{id: 1, start: 5, scheduled: 6, gpu: 13, gpuEnd: 23, update: 26, end: 27, rows: rows(in(1, prefill, 100, 1)), running: 1, fresh: 1},
		{id: 2, start: 15, scheduled: 16, gpu: 23, gpuEnd: 33, update: 36, end: 37, rows: rows(in(1, decode, 1, 1)), running: 1},
		{id: 3, start: 27, scheduled: 28, gpu: 35, gpuEnd: 45, update: 46, end: 47, rows: rows(in(1, decode, 1, 1)), running: 1},
	}, []record.RequestRow{asked(1, "mine", 4, 5, 27, 47, "length")}, nil, nil)
	d, err := Explain(dir, "mine", 5, nil)
	qt.Assert(t, qt.IsNil(err))
	whole(t, &d.Request)
	// What the second step ran before the first token was handed out was no part of
	// the wait for it.
	parted(t, d.First, map[Part]int64{NextSchedule: 1, OtherSteps: 8, OwnPrefill: 10, HostOther: 4})
	parted(t, d.After, map[Part]int64{Decode: 16, HostOther: 4})
	qt.Check(t, qt.Equals(d.Slowest[0].StepCount, 2)) // one is the next token's
}

// A preemption: out of the batch once its last step is done, and computed again.
func TestPreempted(t *testing.T) {
	dir := sessionOf(t, []made{
		{id: 0, start: 10, scheduled: 11, gpu: 12, gpuEnd: 18, update: 19, end: 20, rows: rows(in(1, prefill, 100, 1)), running: 1, fresh: 1},
		{id: 1, start: 20, scheduled: 21, gpu: 22, gpuEnd: 28, update: 29, end: 30, rows: rows(in(9, decode, 1, 1)), running: 1, victims: 1},
		{id: 2, start: 30, scheduled: 31, gpu: 32, gpuEnd: 38, update: 39, end: 40, rows: rows(in(9, decode, 1, 1)), running: 1},
		{id: 3, start: 40, scheduled: 41, gpu: 42, gpuEnd: 58, update: 59, end: 60, rows: rows(in(9, decode, 1, 1), in(1, recompute, 101, 1)), running: 1, again: 1},
	}, []record.RequestRow{asked(1, "mine", 10, 10, 20, 60, "length")}, []record.PreemptionRow{
		{RequestUID: 1, StepID: 1, TimeNS: 21 * ms, Reason: "kv_blocks", BlocksFreed: new(int32(11)), Computed: new(int32(100)), ResumedNS: new(int64(40 * ms)), ResumedStep: new(int64(3))},
	}, nil)
	d, err := Explain(dir, "1", 5, limits)
	qt.Assert(t, qt.IsNil(err))
	whole(t, &d.Request)
	parted(t, d.After, map[Part]int64{Preempted: 19, Recompute: 16, HostOther: 5})
	var names []string
	for _, e := range d.Events {
		names = append(names, e.Event)
	}
	qt.Check(t, qt.DeepEquals(names, []string{EventArrival, EventPrefill, EventFirstToken, EventPreempted, EventRecompute, EventResumed, EventFinished}))
}

// What was before tracing, in steps that are lost, or in a step of which something is
// lost, is unknown, and nothing else.
func TestUnknown(t *testing.T) {
	early := asked(1, "early", -50, 0, 0, 80, "abort")
	early.FromStart = false
	dir := sessionOf(t, []made{
		{id: 0, start: 10, scheduled: 11, gpu: 12, gpuEnd: 18, update: 19, end: 20, rows: rows(in(1, decode, 1, 1))},
		// Two are lost.
		{id: 3, start: 40, scheduled: 41, gpu: 42, gpuEnd: 48, update: 49, end: 50, rows: rows(in(1, decode, 1, 1)), unread: 7},
		{id: 4, start: 50, scheduled: 51, update: 59, end: 60, rows: rows(in(1, decode, 1, 0))}, // when it ran is not known
		{id: 5, start: 60, scheduled: 61, gpu: 62, gpuEnd: 68, update: 69, end: 70, rows: rows(in(1, record.KindUnknown, 1, 0))},
		// The client hung up: its step counts for nothing, and then there are others.
		{id: 6, start: 70, scheduled: 71, gpu: 72, gpuEnd: 78, update: 79, end: 80, rows: rows(in(9, decode, 1, 1))},
	}, []record.RequestRow{early}, nil, nil)
	d, err := Explain(dir, "ear", 5, limits)
	qt.Assert(t, qt.IsNil(err))
	whole(t, &d.Request)
	qt.Check(t, qt.IsNil(d.First))
	parted(t, &d.Total, map[Part]int64{Unknown: 60 + 20 + 6 + 10 + 6, Decode: 6, OtherSteps: 6, HostOther: 4 + 4 + 4 + 4})
}

// A request that still runs, of which not even its arrival is known, lives from its
// first step to its last.
func TestUnfinished(t *testing.T) {
	dir := sessionOf(t, []made{
		{id: 0, start: 10, scheduled: 11, gpu: 12, gpuEnd: 18, update: 19, end: 20, rows: rows(in(1, decode, 1, 1))},
		{id: 1, start: 20, scheduled: 21, gpu: 22, gpuEnd: 28, rows: rows(in(1, decode, 1, 0))},
		{id: 2, start: 40, scheduled: 41, gpu: 42, gpuEnd: 48, update: 49, end: 50, rows: rows(in(9, decode, 1, 1))},
	}, []record.RequestRow{{RequestUID: 1, ExternalID: "x"}, {RequestUID: 2, ExternalID: "never"}}, nil, nil)
	d, err := Explain(dir, "x", 5, nil)
	qt.Assert(t, qt.IsNil(err))
	whole(t, &d.Request)
	parted(t, &d.Total, map[Part]int64{Decode: 12, HostOther: 4, Unknown: 2})
	d, err = Explain(dir, "never", 5, nil)
	qt.Assert(t, qt.IsNil(err))
	parted(t, &d.Total, map[Part]int64{})
}

func TestSharedByTokens(t *testing.T) {
	dir := sessionOf(t, []made{
		{id: 0, start: 10, scheduled: 11, gpu: 12, gpuEnd: 22, update: 22, end: 23, rows: rows(in(1, decode, 1, 1), in(9, prefill, 9, 1)), fresh: 1},
	}, []record.RequestRow{asked(1, "mine", 10, 0, 0, 23, "length")}, nil, nil)
	d, err := Explain(dir, "mine", 5, nil)
	qt.Assert(t, qt.IsNil(err))
	parted(t, &d.Total, map[Part]int64{Decode: 1, OthersPrefill: 9, HostOther: 3})
	qt.Check(t, qt.Equals(d.Shared, 1))
}

func TestChoose(t *testing.T) {
	requests := []record.RequestRow{}
	for uid := range int64(500) {
		requests = append(requests, asked(uid, "r", 0, 1+uid%7, 10, 20+uid*37%500, "stop"))
	}
	dir := sessionOf(t, nil, requests, nil, nil)
	list, all, err := Slowest(dir, ByTotal, 3, nil)
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(all, 500))
	qt.Assert(t, qt.HasLen(list, 3))
	for i, r := range list {
		qt.Check(t, qt.Equals(r.ToNS, int64(519-i)*ms))
		whole(t, &r)
	}
	list, _, err = Slowest(dir, ByQueue, 2, nil)
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(list[0].UID, 6))
	qt.Check(t, qt.Equals(list[1].UID, 13))

	_, err = Explain(dir, "r", 1, nil)
	qt.Check(t, qt.ErrorMatches(err, `500 requests are called "r": 0 \(r\), 1 \(r\), 2 \(r\)`))
	_, err = Explain(dir, "s", 1, nil)
	qt.Check(t, qt.ErrorMatches(err, `none of its 500 requests is called "s"`))
}

// Whatever layers there are, pieces cover the canvas once.
func FuzzCanvas(f *testing.F) {
	f.Add([]byte{3, 9, 5, 7, 0, 0, 1, 20, 2, 4})
	f.Fuzz(func(t *testing.T, b []byte) {
		c := newCanvas(0, 64)
		for len(b) >= 4 {
			a, d := int64(b[0]%70), int64(b[1]%16)
			e, g := a+int64(b[2]%8), int64(b[3]%16)
			c.paint([]piece{{span: span{a - 3, a - 3 + d}}, {span: span{e - 3, e - 3 + g}}})
			b = b[4:]
		}
		c.rest(Unknown)
		covered := map[int64]int{}
		for _, p := range c.pieces {
			for at := p.from; at < p.to; at++ {
				covered[at]++
			}
		}
		for at := range int64(64) {
			qt.Assert(t, qt.Equals(covered[at], 1))
		}
		qt.Assert(t, qt.HasLen(covered, 64))
	})
}

func TestPartsJSON(t *testing.T) {
	b, err := json.Marshal(Parts{Decode: 7})
	qt.Assert(t, qt.IsNil(err))
	var m map[string]int64
	qt.Assert(t, qt.IsNil(json.Unmarshal(b, &m)))
	qt.Check(t, qt.HasLen(m, parts))
	qt.Check(t, qt.Equals(m["decode_ns"], 7))
}

// An arrival behind what followed it is not one: the wall clock was set.
func TestWallClockSet(t *testing.T) {
	dir := sessionOf(t, []made{
		{id: 0, start: 10, scheduled: 11, gpu: 12, gpuEnd: 18, update: 19, end: 20, rows: rows(in(1, prefill, 100, 1)), fresh: 1},
	}, []record.RequestRow{asked(1, "mine", 15, 10, 20, 20, "length")}, nil, nil)
	d, err := Explain(dir, "mine", 5, limits)
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.IsNil(d.TTFTNS))
	whole(t, &d.Request)
	parted(t, &d.Total, map[Part]int64{OwnPrefill: 6, HostOther: 4})
}

// An engine with nobody to run waits for its input alone: what arrives is not there.
func TestIdleEngine(t *testing.T) {
	dir := sessionOf(t, []made{
		{id: 0, start: 10, scheduled: 11, gpu: 12, gpuEnd: 18, update: 19, end: 20, rows: rows(in(9, decode, 1, 1)), running: 1},
		{id: 1, start: 50, scheduled: 51, gpu: 52, gpuEnd: 58, update: 59, end: 60, rows: rows(in(1, prefill, 100, 1)), running: 1, fresh: 1},
	}, []record.RequestRow{asked(1, "mine", 15, 50, 60, 60, "length")}, nil, nil)
	d, err := Explain(dir, "mine", 5, limits)
	qt.Assert(t, qt.IsNil(err))
	parted(t, d.First, map[Part]int64{Frontend: 35, OwnPrefill: 6, HostOther: 4})
}

// Blocks would do for its own prompt, but not for that of the one before it.
func TestBehindTheHead(t *testing.T) {
	long := in(8, prefill, 150, 0)
	dir := sessionOf(t, []made{
		{id: 0, start: 10, scheduled: 11, gpu: 12, gpuEnd: 18, update: 19, end: 20, rows: rows(in(9, decode, 1, 1)), running: 1, waiting: 2, kvUsed: 88},
		{id: 1, start: 20, scheduled: 21, gpu: 22, gpuEnd: 28, update: 29, end: 30, rows: rows(in(9, decode, 1, 1), long), running: 2, waiting: 1, kvUsed: 70, again: 1},
		{id: 2, start: 33, scheduled: 34, gpu: 35, gpuEnd: 41, update: 42, end: 43, rows: rows(in(1, prefill, 100, 1)), running: 1, fresh: 1},
	}, []record.RequestRow{asked(1, "mine", 10, 33, 43, 43, "length")}, nil, nil)
	d, err := Explain(dir, "mine", 5, limits)
	qt.Assert(t, qt.IsNil(err))
	parted(t, d.First, map[Part]int64{QueueBlocks: 10, QueueOther: 13, OwnPrefill: 6, HostOther: 4})
}
