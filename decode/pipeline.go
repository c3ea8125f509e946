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

// Summary is what is known of a session besides its rows.
type Summary struct {
	join.Stats
	Start       *record.Start
	End         *record.End // nil: the journal ends without one
	Engines     []record.Engine
	Processes   []record.Process
	Unavailable []record.Unavailable
	Counters    []record.Loss    // the kernel's and the reader's, as last read
	Events      map[string]int64 // read, by kind
	Malformed   []ErrorCount
	BadFacts    int64
	LastNS      int64 // time of the newest event
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
	p.keep(&f)
	return p.join.Fact(&f)
}

func (p *Pipeline) keep(f *record.Fact) {
	s := &p.sum
	if f.Start != nil {
		s.Start = f.Start
	}
	if f.End != nil {
		s.End = f.End
	}
	if f.Process != nil {
		s.Processes = append(s.Processes, *f.Process)
	}
	if f.Engine != nil {
		s.addEngine(*f.Engine)
	}
	if f.Unavailable != nil {
		s.Unavailable = append(s.Unavailable, *f.Unavailable)
	}
	if f.Losses != nil {
		s.Counters = f.Losses.Counts
	}
}

// addEngine keeps the newest word on each engine.
func (s *Summary) addEngine(e record.Engine) {
	for i := range s.Engines {
		if s.Engines[i].Engine == e.Engine {
			s.Engines[i] = e
			return
		}
	}
	s.Engines = append(s.Engines, e)
}

func (p *Pipeline) report(err error) {
	if p.opts.OnError != nil {
		p.opts.OnError(err)
	}
}

// Live returns the newest numbers, for a status line.
func (p *Pipeline) Live() Live { return p.join.Live() }

// Close hands on the rows that wait for more, and returns the summary.
func (p *Pipeline) Close() (Summary, error) {
	err := p.join.Close()
	s := p.sum
	s.Stats = p.join.Stats()
	s.LastNS = p.join.Live().TimeNS
	s.Malformed = p.dec.Errors()
	s.Events = map[string]int64{}
	for k := wire.KindStep; k <= wire.KindKV; k++ {
		if n := p.dec.Events(k); n > 0 {
			s.Events[k.String()] = n
		}
	}
	return s, err
}
