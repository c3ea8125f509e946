package join

import (
	"math"
	"strings"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/decode/wire"
)

// Joiner takes the events and facts of a session in the order of its journal
// and hands the rows of all tables to a sink. Its memory is bounded by the
// requests that live and the blocks there are. Not for use by several
// goroutines at once.
type Joiner struct {
	sink    record.Sink
	ptr     *nullable
	engines [256]*engine
	order   []*engine // by index

	base    int64 // the session's zero, CLOCK_MONOTONIC ns
	based   bool
	wall    int64 // UNIX time minus CLOCK_MONOTONIC, ns
	walled  bool
	nextUID int64
	now     int64 // time of the newest event

	losses lossBook
	stats  Stats
	err    error // the sink's first

	cpuBound string // what rows' timing_source points to

	rows struct {
		step       record.StepRow
		request    record.RequestRow
		stepReq    record.StepRequestRow
		preemption record.PreemptionRow
		usage      record.KVUsageRow
		block      record.KVBlockRow
		eviction   record.KVEvictionRow
		cpu        record.CPUOperationRow
		process    record.ProcessRow
		loss       record.LossRow
	}
}

// Stats are counts of what was seen so far.
type Stats struct {
	Steps          int64
	EmptySteps     int64 // of them without a token
	StepRequests   int64
	Requests       int64 // announced
	Finished       int64
	NeverScheduled int64 // finished without having been scheduled
	Preemptions    int64
	KVOperations   int64
	Evictions      int64
	Scheduled      int64            // tokens
	Output         int64            // tokens
	Lost           int64            // events
	Unreadable     map[string]int64 // parts of events, by name
}

// Live is what a status line shows.
type Live struct {
	TimeNS                            int64 // newest event, from the session's start
	Steps, Requests                   int64
	ScheduledTokens, OutputTokens     int64
	Running, Waiting, KVUsed, KVTotal int64
	Lost                              int64
}

// New returns a Joiner that writes to sink.
func New(sink record.Sink) *Joiner {
	j := &Joiner{sink: sink, ptr: newNullable(), cpuBound: record.TimingCPUBound}
	j.losses.init()
	j.stats.Unreadable = map[string]int64{}
	return j
}

// Live returns the newest numbers of all engines together. It reads what the
// events write: call it from the same goroutine.
func (j *Joiner) Live() Live {
	l := Live{
		TimeNS: j.now, Steps: j.stats.Steps, Requests: j.stats.Requests,
		ScheduledTokens: j.stats.Scheduled, OutputTokens: j.stats.Output, Lost: j.losses.lost(),
	}
	for _, e := range j.order {
		l.Running += max(e.running, 0)
		l.Waiting += max(e.waiting, 0)
		if total := e.kvTotal(); total >= 0 {
			l.KVTotal += int64(total)
			if e.free >= 0 {
				l.KVUsed += int64(total) - e.free
			}
		}
	}
	return l
}

// Stats returns the counts so far.
func (j *Joiner) Stats() Stats {
	s := j.stats
	s.Lost = j.losses.lost()
	return s
}

// Fact takes one of the journal's facts.
func (j *Joiner) Fact(f *record.Fact) error {
	if s := f.Start; s != nil {
		j.base, j.based = s.MonoNS, true
		j.wall, j.walled = s.WallNS-s.MonoNS, true
	}
	if c := f.Clock; c != nil {
		j.wall, j.walled = c.WallNS-c.MonoNS, true
	}
	if p := f.Process; p != nil {
		j.process(p)
	}
	if f.Engine != nil && f.Engine.Engine >= 0 && f.Engine.Engine < len(j.engines) {
		j.engine(uint8(f.Engine.Engine)).attach(f.Engine)
	}
	if f.Losses != nil {
		j.kernelLosses(f.Losses) // between any two events, also those of one call
	}
	return j.err
}

func (j *Joiner) process(p *record.Process) {
	text := func(s string) *string {
		if s == "" {
			return nil
		}
		return &s
	}
	number := func(n *int) *int32 {
		if n == nil {
			return nil
		}
		return j.ptr.int32(int32(*n))
	}
	j.rows.process = record.ProcessRow{
		PID: int32(p.PID), Role: p.Role, Engine: number(p.Engine), Rank: number(p.Rank),
		Title: p.Title, Command: p.Command,
		Python: text(p.Python), VLLM: text(p.VLLM), Torch: text(p.Torch),
		StartNS: p.StartNS - j.base, TracedNS: p.TracedNS - j.base,
	}
	j.check(j.sink.Process(&j.rows.process))
}

// Close ends the session: what waits for events that do not come any more is
// handed on with nulls.
func (j *Joiner) Close() error {
	for _, e := range j.order {
		e.closeCall()
		e.closeUpdate()
		e.flushOps(math.MaxInt64, nil)
		e.retireAll()
		e.closeRequests()
	}
	j.flushLosses(j.now, true)
	return j.err
}

func (j *Joiner) check(err error) {
	if err != nil && j.err == nil {
		j.err = err
	}
}

// time is a time of the session.
func (j *Joiner) time(ktime uint64) int64 {
	if !j.based {
		j.base, j.based = int64(ktime), true
	}
	return int64(ktime) - j.base
}

func (j *Joiner) engine(i uint8) *engine {
	if e := j.engines[i]; e != nil {
		return e
	}
	e := newEngine(j, i)
	j.engines[i] = e
	at := 0
	for at < len(j.order) && j.order[at].id < e.id {
		at++
	}
	j.order = append(j.order, nil)
	copy(j.order[at+1:], j.order[at:])
	j.order[at] = e
	return e
}

func (j *Joiner) unreadable(probe string, bad wire.Bad) {
	for i, name := range wire.BadNames {
		if bad&(1<<i) != 0 {
			j.stats.Unreadable[probe+"."+name]++
		}
	}
}

// watches says which of the four watches an engine has.
type watches struct {
	blocks, updateReturn, updateEntry bool
}

func watchesOf(names []string) watches {
	if names == nil {
		return watches{true, true, true} // no fact: what comes will tell
	}
	var w watches
	for _, n := range names {
		switch strings.ToLower(n) {
		case "free_blocks":
			w.blocks = true
		case "update_return":
			w.updateReturn = true
		case "update_entry":
			w.updateEntry = true
		}
	}
	return w
}
