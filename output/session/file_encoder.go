package session

import "github.com/pmtrace/pmtrace/decode/record"

// encoderFiles has one line a component's run.
func encoderFiles(out *outputs, _ *Facts) visitor {
	csv := out.csv(FileEncoder, headerEncoder)
	var runs components
	return visitor{
		encoderDecoder: func(r *record.EncoderDecoderRow) error {
			csv.sec(r.TimeNS).text(r.Component).ms(r.DurNS).text(r.Context).end()
			runs.add(r)
			return csv.err
		},
		done: func() error {
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
				}})
			}
			if total := runs.total(); total > 0 {
				for i, name := range componentNames {
					summary = append(summary, member{name + "_pct", percent(100 * runs[i].Total() / total)})
				}
			}
			return out.json(FileEncoderSummary, summary)
		},
	}
}

var componentNames = [...]string{record.ComponentEncoder, record.ComponentDecoder, record.ComponentCrossAttention}

// components are the times of each, in the order of componentNames.
type components [len(componentNames)]Stat

func (c *components) add(r *record.EncoderDecoderRow) {
	for i, name := range componentNames {
		if r.Component == name {
			c[i].Add(r.DurNS)
		}
	}
}

func (c *components) total() float64 {
	sum := 0.0
	for i := range c {
		sum += c[i].Total()
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
