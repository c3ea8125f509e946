// Package traffic makes the events and the rows of a plausible server, for
// tests and benchmarks of sizes and rates. The same seed gives the same bytes.
package traffic

import (
	"math"
	"math/rand/v2"
	"strconv"

	"github.com/pmtrace/pmtrace/decode/record"
)

// Shape says what the server does.
type Shape struct {
	Seed      uint64
	Requests  int // running at any time
	Output    int // mean output tokens; 0: requests never end
	Prompt    int // mean prompt tokens
	BlockSize int
	StepNS    int64
}

// Decode32 is steady decode: 32 requests that never end.
var Decode32 = Shape{Seed: 1, Requests: 32, Prompt: 500, BlockSize: 16, StepNS: 20e6}

// Chat32 is 32 requests at a time with outputs of 200 tokens in the mean.
var Chat32 = Shape{Seed: 1, Requests: 32, Output: 200, Prompt: 500, BlockSize: 16, StepNS: 20e6}

type request struct {
	uid                int64
	key, object        uint64
	id                 string
	arrival            int64
	prompt, output     int32
	computed, produced int32
	blocks             []int32
	row                record.RequestRow
}

// Server is a running one. Event and the rows' Sink may be nil.
type Server struct {
	Shape
	Event func(payload []byte)
	Rows  record.Sink

	rng     *rand.Rand
	now     int64
	seq     uint32
	step    int64
	update  uint32
	op      int64
	uid     int64
	running []*request
	free    []int32
	total   int32
	buf     []byte
	ended   []uint64
}

// New returns a server before its first step.
func New(shape Shape) *Server {
	s := &Server{Shape: shape, rng: rand.New(rand.NewPCG(shape.Seed, 7))}
	s.total = int32(shape.Requests * 65536 / shape.BlockSize)
	for i := range s.total {
		s.free = append(s.free, i+1)
	}
	return s
}

// Step makes one step; it returns the number of requests in it.
func (s *Server) Step() (int, error) {
	start := s.now
	for len(s.running) < s.Requests {
		s.running = append(s.running, s.admit())
	}
	step := record.StepRow{StepID: s.step, Iteration: new(s.step), StartNS: start, TimingSource: new(record.TimingCPUBound)}
	rows := make([]record.StepRequestRow, 0, len(s.running))
	for _, r := range s.running {
		row := record.StepRequestRow{StepID: s.step, RequestUID: r.uid, Kind: record.KindDecode, Scheduled: 1,
			Computed: new(r.computed), PromptTokens: new(r.prompt), OutputTokens: new(int32(1)), NewBlocks: new(int32(0))}
		if r.computed < r.prompt {
			row.Kind, row.Scheduled = record.KindPrefill, r.prompt
			step.PrefillRequests++
			step.PrefillTokens += row.Scheduled
		} else {
			step.DecodeRequests++
			step.DecodeTokens++
		}
		want := (r.computed + row.Scheduled + int32(s.BlockSize) - 1) / int32(s.BlockSize)
		if n := want - int32(len(r.blocks)); n > 0 {
			*row.NewBlocks = n
			if err := s.alloc(r, n); err != nil {
				return 0, err
			}
		}
		rows = append(rows, row)
	}
	s.pass(150e3)
	s.stepEvents(start, rows)
	step.ScheduledNS = s.now
	step.ScheduleDurNS = new(s.now - start)
	step.Requests, step.Tokens = int32(len(rows)), step.PrefillTokens+step.DecodeTokens
	step.Phase = record.PhaseDecode
	if step.PrefillRequests > 0 {
		step.Phase = record.PhaseMixed
	}
	s.pass(s.StepNS)
	step.UpdateNS = new(s.now)
	step.ForwardNS = new(s.now - step.ScheduledNS)
	step.ErrorBoundNS = new(int64(1000))
	s.updateEvent(7)
	s.pass(200e3)
	ended := s.finish(rows)
	step.EndNS = new(s.now)
	step.UpdateDurNS = new(s.now - *step.UpdateNS)
	step.OutputTokens = new(step.Requests)
	step.FinishedRequests = new(int32(len(ended)))
	step.Running, step.Waiting = new(int32(len(s.running))), new(int32(3))
	step.KVTotal, step.KVUsed = new(s.total), new(s.total-int32(len(s.free)))
	s.step++
	s.pass(100e3)
	if s.Rows == nil {
		return len(rows), nil
	}
	if err := s.Rows.Step(&step); err != nil {
		return 0, err
	}
	for i := range rows {
		if err := s.Rows.StepRequest(&rows[i]); err != nil {
			return 0, err
		}
	}
	for _, op := range []struct {
		name   string
		at, ns int64
	}{{"scheduling", start, *step.ScheduleDurNS}, {"model_execution", step.ScheduledNS, *step.ForwardNS},
		{"update_from_output", *step.UpdateNS, *step.UpdateDurNS}} {
		if err := s.Rows.CPUOperation(&record.CPUOperationRow{StepID: new(step.StepID), TimeNS: op.at, DurNS: op.ns,
			Operation: op.name, Thread: 1234, Context: "phase=" + step.Phase}); err != nil {
			return 0, err
		}
	}
	for _, r := range ended {
		if err := s.Rows.Request(&r.row); err != nil {
			return 0, err
		}
	}
	return len(rows), nil
}

// pass lets time go by: ns, with the jitter of a real machine.
func (s *Server) pass(ns int64) {
	s.now += ns + int64(math.Abs(s.rng.NormFloat64())*float64(ns)/50)
}

func (s *Server) admit() *request {
	s.uid++
	r := &request{
		uid: s.uid, arrival: s.now - int64(s.rng.IntN(50e6)),
		key:    0x7f3a_0000_0000 + uint64(s.rng.Uint32())&^15,
		object: 0x7f3a_0000_0000 + uint64(s.rng.Uint32())&^15,
		id:     "cmpl-" + strconv.FormatUint(s.rng.Uint64(), 16) + strconv.FormatUint(s.rng.Uint64(), 16) + "-0",
		prompt: int32(1 + s.rng.IntN(2*s.Prompt)),
		output: math.MaxInt32,
	}
	if s.Output > 0 {
		r.output = 1 + int32(s.rng.ExpFloat64()*float64(s.Output))
	}
	r.row = record.RequestRow{RequestUID: r.uid, RequestID: r.id, ExternalID: r.id[:len(r.id)-2], FromStart: true,
		ArrivalUnix: new(1.7e9 + float64(r.arrival)/1e9), ArrivalNS: new(r.arrival), ScheduledNS: new(s.now),
		PromptTokens: new(r.prompt), CachedTokens: new(int32(0)), MaxTokens: new(r.output), QueueNS: new(s.now - r.arrival)}
	return r
}

func (s *Server) finish(rows []record.StepRequestRow) (ended []*request) {
	s.updateEvent(8)
	s.begin(9)
	s.u32(s.update, 0)
	s.u16(uint16(len(rows)), 0)
	s.u32(0)
	for i, r := range s.running {
		r.computed += rows[i].Scheduled
		r.produced++
		finish := uint16(0xffff)
		if r.produced >= r.output {
			finish = 1
		}
		s.u64(r.key)
		s.u32(1)
		s.u16(finish, 0)
		if r.produced == 1 {
			r.row.FirstTokNS = new(s.now)
			r.row.PrefillNS = new(s.now - *r.row.ScheduledNS)
		}
	}
	s.emit()
	s.update++
	s.ended = s.ended[:0]
	kept := s.running[:0]
	for _, r := range s.running {
		if r.produced < r.output {
			kept = append(kept, r)
			continue
		}
		ended = append(ended, r)
		s.ended = append(s.ended, r.key)
		s.free = append(s.free, r.blocks...)
		s.kv(3, r, r.blocks)
		r.row.FinishedNS, r.row.Reason = new(s.now), new("stop")
		r.row.DecodeNS = new(s.now - *r.row.FirstTokNS)
		r.row.OutputTokens, r.row.PreemptedNS = new(r.produced), new(int64(0))
		r.row.Steps, r.row.Scheduled = r.produced, int64(r.computed)
	}
	s.running = kept
	return ended
}

func (s *Server) alloc(r *request, n int32) error {
	blocks := s.free[:n]
	s.free = s.free[n:]
	r.blocks = append(r.blocks, blocks...)
	s.pass(3e3)
	s.kv(1, r, blocks)
	if s.Rows == nil {
		return nil
	}
	if err := s.Rows.KVUsage(&record.KVUsageRow{OpID: s.op, TimeNS: s.now, StepID: new(s.step), Op: record.KVAlloc,
		Blocks: n, FreeAfter: new(int32(len(s.free))), RequestUID: new(r.uid)}); err != nil {
		return err
	}
	for _, b := range blocks {
		if err := s.Rows.KVBlock(&record.KVBlockRow{OpID: s.op, TimeNS: s.now, BlockID: b, Op: record.KVAlloc, RequestUID: new(r.uid)}); err != nil {
			return err
		}
		if b%3 == 0 {
			if err := s.Rows.KVEviction(&record.KVEvictionRow{OpID: s.op, TimeNS: s.now, BlockID: b, HadHash: b%2 == 0, BirthKnown: true,
				LifetimeNS: s.now / 2, IdleNS: s.now / 3, TakenByUID: new(r.uid)}); err != nil {
				return err
			}
		}
	}
	s.op++
	return nil
}
