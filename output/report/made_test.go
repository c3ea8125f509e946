package report

import (
	"os"
	"testing"
	"time"

	"github.com/go-quicktest/qt"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/session"
)

const ms = 1_000_000

// made is a step made by hand; times are in ms, 0 for not known. The GPU's time is
// CUPTI's.
type made struct {
	id                    int64
	start, scheduled      int64
	gpu, gpuEnd           int64
	update, end           int64
	rows                  []record.StepRequestRow
	running, waiting      int32
	kvUsed                int32 // of 100
	fresh, again, victims int32
	unread                int32 // tokens of rows that are lost
}

// in is a request's row in a step: uid, kind, tokens, output tokens.
func in(uid int64, kind string, tokens, outputs int32) record.StepRequestRow {
	return record.StepRequestRow{RequestUID: uid, Kind: kind, Scheduled: tokens, OutputTokens: &outputs, NewBlocks: new(tokens / 10)}
}

func known(atMS int64) *int64 {
	if atMS == 0 {
		return nil
	}
	return new(atMS * ms)
}

func (m *made) row() *record.StepRow {
	s := &record.StepRow{
		StepID: m.id, StartNS: m.start * ms, ScheduledNS: m.scheduled * ms, UpdateNS: known(m.update), EndNS: known(m.end),
		GPUStartNS: known(m.gpu), GPUEndNS: known(m.gpuEnd), Requests: int32(len(m.rows)), Tokens: m.unread,
		Running: &m.running, Waiting: &m.waiting, KVUsed: &m.kvUsed, KVTotal: new(int32(100)),
		NewRequests: m.fresh, ResumedRequests: m.again, Preempted: m.victims, Phase: record.PhaseUnknown,
	}
	if m.gpuEnd != 0 {
		s.GPUTimingSource = new(record.TimingCUPTI)
	}
	for i := range m.rows {
		r := &m.rows[i]
		s.Tokens += r.Scheduled
		switch r.Kind {
		case record.KindPrefill:
			s.PrefillRequests, s.PrefillTokens = s.PrefillRequests+1, s.PrefillTokens+r.Scheduled
		case record.KindDecode:
			s.DecodeRequests, s.DecodeTokens = s.DecodeRequests+1, s.DecodeTokens+r.Scheduled
		case record.KindRecompute:
			s.RecomputeRequests, s.RecomputeTokens = s.RecomputeRequests+1, s.RecomputeTokens+r.Scheduled
		}
	}
	return s
}

// sessionOf writes a session of such steps.
func sessionOf(t *testing.T, steps []made, requests []record.RequestRow, preemptions []record.PreemptionRow, operations []record.CPUOperationRow) *session.Dir {
	dir, err := session.Create(t.TempDir(), time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), session.Owner{UID: os.Geteuid(), GID: os.Getegid()})
	qt.Assert(t, qt.IsNil(err))
	t.Cleanup(func() { dir.Close() })
	tables, err := session.CreateTables(dir, session.About{})
	qt.Assert(t, qt.IsNil(err))
	for i := range steps {
		qt.Assert(t, qt.IsNil(tables.Step(steps[i].row())))
		for k := range steps[i].rows {
			r := steps[i].rows[k]
			r.StepID = steps[i].id
			qt.Assert(t, qt.IsNil(tables.StepRequest(&r)))
		}
	}
	for i := range requests {
		qt.Assert(t, qt.IsNil(tables.Request(&requests[i])))
	}
	for i := range preemptions {
		qt.Assert(t, qt.IsNil(tables.Preemption(&preemptions[i])))
	}
	for i := range operations {
		qt.Assert(t, qt.IsNil(tables.CPUOperation(&operations[i])))
	}
	qt.Assert(t, qt.IsNil(tables.Close()))
	return dir
}

// asked is a request that was seen from its start; times are in ms.
func asked(uid int64, id string, arrival, scheduled, first, finished int64, reason string) record.RequestRow {
	r := record.RequestRow{
		RequestUID: uid, RequestID: id + "-0a1b2c3d", ExternalID: id, ArrivalNS: new(arrival * ms), ScheduledNS: known(scheduled),
		FirstTokNS: known(first), FinishedNS: known(finished), PromptTokens: new(int32(100)), FromStart: true,
	}
	if reason != "" {
		r.Reason = &reason
	}
	r.QueueNS = between(r.ArrivalNS, r.ScheduledNS)
	r.DecodeNS = between(r.FirstTokNS, r.FinishedNS)
	return r
}

// parted checks that the parts are the given ones, in ms, and that they sum to the
// whole.
func parted(t *testing.T, p *Parts, want map[Part]int64) {
	t.Helper()
	got := map[Part]int64{}
	for part, ns := range p {
		if ns != 0 {
			qt.Check(t, qt.Equals(ns%ms, 0), qt.Commentf("%s", Part(part).Text()))
			got[Part(part)] = ns / ms
		}
	}
	qt.Check(t, qt.DeepEquals(got, want))
}

func whole(t *testing.T, r *Request) {
	t.Helper()
	qt.Check(t, qt.Equals(r.Total.Sum(), r.ToNS-r.FromNS))
	if r.TTFTNS != nil {
		both := *r.First
		both.add(r.After)
		qt.Check(t, qt.Equals(r.First.Sum(), *r.TTFTNS))
		qt.Check(t, qt.Equals(both, r.Total))
	}
}
