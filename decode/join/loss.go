package join

import (
	"cmp"
	"slices"
	"strings"

	"github.com/pmtrace/pmtrace/decode/record"
)

// lossKey is what losses are counted by. Engine -1: not of one engine.
type lossKey struct {
	engine        int32
	probe, reason string
}

type lossSpan struct {
	from, to, count int64
}

// lossBook counts losses until they are handed on: with the kernel's counters,
// which the journal has from time to time, and at the end.
//
// Two views of one loss must not be counted twice. An event that found no room
// in the ring raises the kernel's ring_full counter and leaves a gap in the
// sequence numbers: the counter gives the number and the probe, the gaps say
// when it was, and only what they have more than the counters is a loss of its
// own (sequence_gap).
type lossBook struct {
	open   map[lossKey]*lossSpan
	kernel map[lossKey]uint64 // counters as last read
	gaps   map[int32]*gapSpan
	at     int64 // the last reading
	total  int64 // handed on or open, without gaps that may yet be explained

	routing twice // runs of routing kernels
}

type gapSpan struct {
	span, before  lossSpan // since the last reading, and in the time before it
	seen, settled int64    // all gaps, and those before the last reading
	kernel        int64    // ring_full of the engine
	reported      int64    // sequence_gap handed on
}

// twice is a loss that a counter and gaps both show: the larger is how much it is.
type twice struct {
	span                    lossSpan // since the last reading
	gaps, counter, reported int64
}

func (t *twice) seen(from, to, n int64) {
	t.span.add(from, to, n)
	t.gaps += n
}

func (t *twice) left() int64 { return max(t.gaps, t.counter) - t.reported }

// overwritten is how the library counts runs of routing kernels that it came too late for.
var overwritten = lossKey{-1, "moe", "overwritten"}

// flush hands on what is not counted yet.
func (t *twice) flush(b *lossBook, now int64) {
	n := t.left()
	from, to := b.at, now
	if t.span.count > 0 {
		from, to = t.span.from, t.span.to
	}
	b.add(overwritten, from, to, n)
	t.reported += n
	t.span = lossSpan{}
}

func (b *lossBook) init() {
	b.open = map[lossKey]*lossSpan{}
	b.kernel = map[lossKey]uint64{}
	b.gaps = map[int32]*gapSpan{}
}

func (s *lossSpan) add(from, to, n int64) {
	from = min(from, to) // times of hostile events may go back
	if s.count == 0 {
		s.from, s.to = from, to
	}
	s.from, s.to = min(s.from, from), max(s.to, to)
	s.count += n
}

func (b *lossBook) add(k lossKey, from, to, n int64) {
	if n <= 0 {
		return
	}
	s := b.open[k]
	if s == nil {
		s = &lossSpan{}
		b.open[k] = s
	}
	s.add(from, to, n)
	b.total += n
}

func (b *lossBook) gap(engine int32, from, to, n int64) {
	g := b.engine(engine)
	g.span.add(from, to, n)
	g.seen += n
}

func (b *lossBook) engine(i int32) *gapSpan {
	g := b.gaps[i]
	if g == nil {
		g = &gapSpan{}
		b.gaps[i] = g
	}
	return g
}

// lost is the number of all losses so far.
func (b *lossBook) lost() int64 {
	n := b.total + b.routing.left()
	for _, g := range b.gaps {
		n += max(g.seen-g.kernel-g.reported, 0)
	}
	return n
}

// AddLoss counts losses that were found outside, such as malformed events.
func (j *Joiner) AddLoss(probe, reason string, n int64) {
	j.losses.add(lossKey{-1, probe, reason}, j.now, j.now, n)
}

// kernelLosses takes a reading of the kernel's counters.
func (j *Joiner) kernelLosses(f *record.Losses) {
	b := &j.losses
	now := f.MonoNS - j.base
	for _, c := range f.Counts {
		if !c.Lost {
			continue
		}
		k := lossKey{int32(c.Engine), c.Probe, c.Reason}
		if c.Count <= b.kernel[k] {
			continue
		}
		n := int64(c.Count - b.kernel[k])
		b.kernel[k] = c.Count
		if k == overwritten {
			b.routing.counter += n
			continue
		}
		from, to := b.at, now
		if numbered := !strings.HasPrefix(c.Probe, record.HookProbe); numbered && strings.HasPrefix(c.Reason, "ring") {
			g := b.engine(ringOf(&c))
			g.kernel += n
			if g.span.count > 0 {
				from, to = g.span.from, g.span.to
			} else if g.before.count > 0 {
				from = g.before.from
			}
		}
		b.add(k, from, to, n)
	}
	j.flushLosses(now, false)
}

// ringOf is whose gaps a counter explains: an engine's, or those of the calls of
// all workers together (-1).
func ringOf(c *record.Loss) int32 {
	switch c.Probe {
	case "schedule_return", "free_blocks", "update_return", "update_entry", "routed_experts":
		return int32(c.Engine)
	}
	return -1
}

// flushLosses hands on what was counted since the last reading.
func (j *Joiner) flushLosses(now int64, end bool) {
	b := &j.losses
	for engine, g := range b.gaps {
		// The counters may have been read before the newest events came, so
		// what they do not explain is a loss of its own one reading later.
		seen, span := g.settled, g.before
		if end {
			seen = g.seen
			if g.span.count > 0 {
				span.add(g.span.from, g.span.to, g.span.count)
			}
		}
		if n := seen - g.kernel - g.reported; n > 0 {
			g.reported += n
			b.add(lossKey{engine, "ring", "sequence_gap"}, span.from, span.to, n)
		}
		g.settled, g.before, g.span = g.seen, g.span, lossSpan{}
	}
	b.routing.flush(b, now)
	keys := make([]lossKey, 0, len(b.open))
	for k := range b.open {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(x, y lossKey) int {
		return cmp.Or(cmp.Compare(x.engine, y.engine), cmp.Compare(x.probe, y.probe), cmp.Compare(x.reason, y.reason))
	})
	for _, k := range keys {
		s := b.open[k]
		row := &j.rows.loss
		*row = record.LossRow{FromNS: s.from, ToNS: s.to, Probe: k.probe, Reason: k.reason, Count: s.count}
		if k.engine >= 0 {
			row.Engine = j.ptr.int32(k.engine)
		}
		j.check(j.sink.Loss(row))
	}
	clear(b.open)
	b.at = now
}
