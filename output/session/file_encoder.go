package session

import "github.com/pmtrace/pmtrace/decode/record"

// encoderFiles has one line a component's run.
func encoderFiles(out *outputs, _ *Facts) Visitor {
	csv := out.csv(FileEncoder, headerEncoder)
	var runs components
	return Visitor{
		EncoderDecoder: func(r *record.EncoderDecoderRow) error {
			csv.sec(r.TimeNS).text(r.Component).ms(r.DurNS).text(r.Context).end()
			runs.add(r)
			return csv.err
		},
		Done: func() error {
			summary := object{{"model_type", runs.modelType()}}
			for i, name := range componentNames {
				s := &runs[i]
				if s.Count() == 0 {
					continue
				}
				summary = append(summary, member{name, object{
					{"count", s.Count()},
					{"total_ms", millis(s.Total())},
					{"mean_ms", millis(s.Mean())},
					{"std_ms", millis(s.Std())},
					{"timing_sources", s.sources.json()},
				}})
			}
			if total := runs.total(); total > 0 {
				for i, name := range componentNames {
					summary = append(summary, member{name + "_pct", percent(runs[i].pct(total))})
				}
			}
			return out.json(FileEncoderSummary, summary)
		},
	}
}

var componentNames = [...]string{record.ComponentEncoder, record.ComponentDecoder, record.ComponentCrossAttention}

// component is the times of one. Its share is by what the CPU saw alone: in a step
// with an encoder nothing else is known, and it does not compare with GPU times.
type component struct {
	Stat
	sources counts
	onCPU   float64 // ns
}

func (c *component) pct(total float64) float64 { return 100 * c.onCPU / max(total, 1) }

// components are the times of each, in the order of componentNames.
type components [len(componentNames)]component

func (c *components) add(r *record.EncoderDecoderRow) {
	for i, name := range componentNames {
		if r.Component != name {
			continue
		}
		c[i].Add(r.DurNS)
		c[i].sources.add(r.TimingSource)
		if r.TimingSource == record.TimingCPUBound {
			c[i].onCPU += float64(r.DurNS)
		}
	}
}

// total is the CPU time of all.
func (c *components) total() float64 {
	sum := 0.0
	for i := range c {
		sum += c[i].onCPU
	}
	return sum
}

// modelType is profilemate's word, by what ran: a vision encoder before a decoder
// is an encoder_decoder there, too.
func (c *components) modelType() string {
	switch {
	case c[0].Count() > 0 || c[2].Count() > 0:
		return "encoder_decoder"
	case c[1].Count() > 0:
		return "decoder_only"
	}
	return "unknown"
}
