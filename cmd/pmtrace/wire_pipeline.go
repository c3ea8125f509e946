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

// realPipeline decodes into the session's tables, and gathers the facts that
// the other files are made from.
type realPipeline struct {
	decode *decode.Pipeline
	tables *session.Tables
	facts  *session.Facts
}

func newPipeline(tables *session.Tables, facts *session.Facts, log *slog.Logger) *realPipeline {
	report := func(err error) { log.Warn("record", "error", err) }
	return &realPipeline{decode: decode.NewPipeline(tables, decode.Options{OnError: report}), tables: tables, facts: facts}
}

func (p *realPipeline) Record(kind byte, payload []byte) error {
	cut := false
	if kind == journal.KindFact {
		var f record.Fact
		if json.Unmarshal(payload, &f) == nil { // else the pipeline counts it
			p.facts.Add(f)
			cut = f.Cut != nil
		}
	}
	err := p.decode.Record(kind, payload)
	if err == nil && cut {
		err = p.tables.Cut()
	}
	return err
}

func (p *realPipeline) Live() live {
	l := p.decode.Live()
	return live{
		steps: l.Steps, tokens: l.ScheduledTokens, running: int(l.Running), waiting: int(l.Waiting),
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
