//go:build cgo

package sampler

import (
	"time"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/decode/wire"
)

// evaluator makes samples of what is in the ring, and hands them on. One
// goroutine owns it while it runs.
type evaluator struct {
	out      *writer
	counters *counters // read only
	gpu      uint8
	track    track
	pending  batch
	samples  uint64
	told     uint64 // of the samples that were lost
	flushed  time.Time
	failed   chan struct{} // closed at the first error
}

// batch is what is not yet handed on.
type batch struct {
	ends    []uint64
	lengths []uint32
	values  [][]float32
}

// run ends when there is nothing more to find. After an error, which it says by
// stop and failed, it still takes what is found, so that whoever tells it does
// not wait.
func (e *evaluator) run(found <-chan finding, stop func()) error {
	var err error
	for f := range found {
		if err == nil {
			if err = e.hear(f); err != nil {
				stop()
				close(e.failed)
			}
		}
		if f.read != nil {
			close(f.read)
		}
	}
	return err
}

func (e *evaluator) hear(f finding) error {
	switch {
	case f.samples != nil:
		if err := e.counters.read(*f.samples, e.sample); err != nil {
			return err
		}
		if time.Since(e.flushed) >= flushEvery {
			return e.flush()
		}
	case f.stretch:
		e.track.begin(false)
	case f.brokeOff:
		e.counters.next = 0
		e.track.begin(true)
	case f.endedAt != nil:
		e.counters.next = 0
		e.track.end(*f.endedAt)
	case f.flush:
		return e.flush()
	case f.log != "":
		return e.out.write(frameLog, []byte(f.log))
	case f.clock != nil:
		return e.out.json(frameFact, record.Fact{GPUClock: f.clock})
	}
	return nil
}

func (e *evaluator) sample(start, end uint64, values []float32) {
	if !e.track.take(start, end) {
		return
	}
	e.samples++
	e.pending.ends = append(e.pending.ends, end)
	e.pending.lengths = append(e.pending.lengths, uint32(end-start))
	for i, v := range values {
		e.pending.values[i] = append(e.pending.values[i], v)
	}
}

func (e *evaluator) flush() error {
	e.flushed = time.Now()
	p := &e.pending
	if len(p.ends) == 0 && e.told == e.track.lost {
		return nil
	}
	e.told = e.track.lost
	b := wire.AppendCounters(nil, e.gpu, e.track.lost, p.ends, p.lengths, p.values)
	p.ends, p.lengths = p.ends[:0], p.lengths[:0]
	for i := range p.values {
		p.values[i] = p.values[i][:0]
	}
	return e.out.write(frameCounters, b)
}
