package page

import (
	"math"
	"slices"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/session"
)

// edges bound the bins of durations, ns: sixteen to each doubling, from a microsecond on.
var edges = func() (list [513]int64) {
	for i := range list {
		list[i] = int64(math.Ceil(1000 * math.Exp2(float64(i)/16)))
	}
	return list
}()

// bins count durations; what lies outside of the edges counts with the outermost.
type bins [len(edges) - 1]int64

func (b *bins) add(ns int64) {
	i, found := slices.BinarySearch(edges[:], ns)
	if !found {
		i--
	}
	b[min(max(i, 0), len(b)-1)]++
}

func (b *bins) addKnown(ns *int64) {
	if ns != nil {
		b.add(*ns)
	}
}

// distribution is a latency as the page has it.
type distribution struct {
	Name   string     `json:"name"`
	Count  int64      `json:"count"`
	First  int        `json:"first"` // bin of Counts[0]
	Counts ints       `json:"counts"`
	P      [4]float64 `json:"percentiles_ns"` // 50, 90, 99, and the largest
}

func (b *bins) distribution(name string, s *session.Stat) distribution {
	d := distribution{
		Name: name, Count: s.Count(), Counts: ints{},
		P: [...]float64{s.Percentile(50), s.Percentile(90), s.Percentile(99), float64(s.Max())},
	}
	last := -1
	for i, n := range b {
		if n == 0 {
			continue
		}
		if last < 0 {
			d.First = i
		}
		last = i
	}
	if last >= 0 {
		d.Counts = append(d.Counts, b[d.First:last+1]...)
	}
	return d
}

// latencies are how long requests and steps took.
type latencies struct {
	firstToken, queue, perToken bins
	whole, gpu                  [len(phases)]bins
}

func (l *latencies) request(r *record.RequestRow) {
	if r.ArrivalNS != nil && r.FirstTokNS != nil {
		l.firstToken.add(*r.FirstTokNS - *r.ArrivalNS)
	}
	l.queue.addKnown(r.QueueNS)
	if r.DecodeNS != nil && r.OutputTokens != nil && *r.OutputTokens > 1 {
		l.perToken.add(*r.DecodeNS / int64(*r.OutputTokens-1))
	}
}

func (l *latencies) step(r *record.StepRow) {
	if r.Tokens == 0 {
		return
	}
	p := phaseIndex(r.Phase)
	if r.EndNS != nil {
		l.whole[p].add(*r.EndNS - r.StartNS)
	}
	l.gpu[p].addKnown(r.StepGPUNS)
}

// latencyData is what the page has of them.
type latencyData struct {
	Edges      ints           `json:"edges_ns"`
	FirstToken distribution   `json:"first_token"`
	Queue      distribution   `json:"queue"`
	PerToken   distribution   `json:"per_token"`
	Whole      []distribution `json:"steps"` // by phase
	GPU        []distribution `json:"steps_gpu"`
}

func (l *latencies) data(s *session.Summary) latencyData {
	d := latencyData{
		Edges:      edges[:],
		FirstToken: l.firstToken.distribution("to first token", &s.FirstToken),
		Queue:      l.queue.distribution("queue", &s.Queue),
		PerToken:   l.perToken.distribution("per output token", &s.PerToken),
		Whole:      []distribution{}, GPU: []distribution{},
	}
	for i, phase := range phases {
		p := s.Phases[phase]
		if p == nil {
			continue
		}
		if p.Step.Count() > 0 {
			d.Whole = append(d.Whole, l.whole[i].distribution(phase, &p.Step))
		}
		if p.GPU.Count() > 0 {
			d.GPU = append(d.GPU, l.gpu[i].distribution(phase, &p.GPU))
		}
	}
	return d
}
