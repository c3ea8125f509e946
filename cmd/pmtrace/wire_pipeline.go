package main

import (
	"encoding/json"
	"errors"
	"log/slog"

	"github.com/pmtrace/pmtrace/decode"
	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/journal"
	"github.com/pmtrace/pmtrace/output/session"
)

// listener is given a session's rows while it is traced, and what is known of the
// server. It keeps nobody waiting.
type listener interface {
	record.Sink
	Describe(*session.Facts)
}

// realPipeline decodes into the session's tables, and gathers the facts that
// the other files are made from.
type realPipeline struct {
	decode *decode.Pipeline
	tables *session.Tables
	facts  *session.Facts
	also   []listener
}

func newPipeline(tables *session.Tables, facts *session.Facts, also []listener, log *slog.Logger) *realPipeline {
	report := func(err error) { log.Warn("record", "error", err) }
	var sink record.Sink = tables
	if len(also) > 0 {
		tee := record.Tee{tables}
		for _, l := range also {
			tee = append(tee, l)
		}
		sink = tee
	}
	return &realPipeline{decode: decode.NewPipeline(sink, decode.Options{OnError: report}), tables: tables, facts: facts, also: also}
}

func (p *realPipeline) Record(kind byte, payload []byte) error {
	cut := false
	if kind == journal.KindFact {
		var f record.Fact
		if json.Unmarshal(payload, &f) == nil { // else the pipeline counts it
			p.facts.Add(f)
			p.describe(&f)
			cut = f.Cut != nil
		}
	}
	err := p.decode.Record(kind, payload)
	if err == nil && cut {
		err = p.tables.Cut()
	}
	return err
}

// describe tells the listeners what a fact has changed for them.
func (p *realPipeline) describe(f *record.Fact) {
	if f.Start == nil && f.Engine == nil && f.GPU == nil {
		return
	}
	for _, l := range p.also {
		l.Describe(p.facts)
	}
}

func (p *realPipeline) Live() progress {
	l := p.decode.Live()
	return progress{
		delayNS: l.ClockNS - l.SettledNS,
		steps:   l.Steps, tokens: l.ScheduledTokens, running: int(l.Running), waiting: int(l.Waiting),
		kvUsed: int(l.KVUsed), kvTotal: int(l.KVTotal), lost: uint64(max(l.Lost, 0)),
	}
}

func (p *realPipeline) Close() error {
	sum, err := p.decode.Close()
	p.facts.NeverScheduled, p.facts.Unreadable = sum.NeverScheduled, sum.Unreadable
	p.facts.DummyPasses, p.facts.MissingLayers = sum.MoE.DummyPasses, sum.MoE.MissingLayers
	if b := sum.Bounds; b.Steps > 0 {
		n := float64(b.Steps)
		p.facts.Bounds = session.BoundCheck{Steps: b.Steps, BiasPct: 100 * b.Bias / n, ErrorPct: 100 * b.Error / n}
	}
	return errors.Join(err, p.tables.Close())
}
