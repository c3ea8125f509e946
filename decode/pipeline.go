package decode

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/pmtrace/pmtrace/decode/join"
	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/decode/wire"
)

// Kinds of the journal's records.
const (
	RecordEvent = 'E' // a raw event
	RecordFact  = 'F' // a record.Fact as JSON
	// RecordCounters holds samples of a GPU's hardware counters: wire.Counters.
	RecordCounters = 'C'
)

// Options of a Pipeline.
type Options struct {
	// OnError is told of each record that could not be read, which is counted
	// and left out.
	OnError func(error)
}

// Pipeline makes rows of a journal's records: live, as they are written, and
// from a recorded journal alike, so that both give the same rows. Not for use by
// several goroutines at once, Live included.
type Pipeline struct {
	opts Options
	join *join.Joiner
	dec  *Decoder
	sum  Summary
}

// Live is what a status line shows.
type Live = join.Live

// Summary is what decoding counted.
type Summary struct {
	join.Stats
	Malformed []ErrorCount
	BadFacts  int64
}

// NewPipeline returns a Pipeline that writes to sink.
func NewPipeline(sink record.Sink, opts Options) *Pipeline {
	p := &Pipeline{opts: opts, join: join.New(sink)}
	p.dec = New(p.join)
	return p
}

// Record takes the journal's next record. What is wrong with the record itself
// is counted; an error is the sink's.
func (p *Pipeline) Record(kind byte, payload []byte) error {
	switch kind {
	case RecordEvent:
		err := p.dec.Event(payload)
		if err == nil {
			return nil
		}
		var malformed *wire.Error
		if errors.As(err, &malformed) {
			p.join.AddLoss("decode", malformed.Kind.String()+"_"+string(malformed.Reason), 1)
			p.report(err)
			return nil
		}
		return err
	case RecordFact:
		return p.fact(payload)
	case RecordCounters:
		return p.counters(payload)
	}
	p.join.AddLoss("decode", "record_kind", 1)
	p.report(fmt.Errorf("record of unknown kind %q", kind))
	return nil
}

func (p *Pipeline) fact(payload []byte) error {
	var f record.Fact
	if err := json.Unmarshal(payload, &f); err != nil {
		p.sum.BadFacts++
		p.join.AddLoss("decode", "fact", 1)
		p.report(fmt.Errorf("fact: %w", err))
		return nil
	}
	return p.join.Fact(&f)
}

func (p *Pipeline) counters(payload []byte) error {
	c, err := wire.ReadCounters(payload)
	var malformed *wire.Error
	if errors.As(err, &malformed) {
		p.join.AddLoss("decode", malformed.Kind.String()+"_"+string(malformed.Reason), 1)
		p.report(err)
		return nil
	}
	return p.join.Counters(&c)
}

func (p *Pipeline) report(err error) {
	if p.opts.OnError != nil {
		p.opts.OnError(err)
	}
}

// Live returns the newest numbers, for a status line.
func (p *Pipeline) Live() Live { return p.join.Live() }

// Running returns the n requests that have run longest, and how many run.
func (p *Pipeline) Running(n int) (list []record.Running, all int) { return p.join.Running(n) }

// Close hands on the rows that wait for more, and returns the summary.
func (p *Pipeline) Close() (Summary, error) {
	err := p.join.Close()
	s := p.sum
	s.Stats = p.join.Stats()
	s.Malformed = p.dec.Errors()
	return s, err
}
