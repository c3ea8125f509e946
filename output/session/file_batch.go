package session

import "github.com/pmtrace/pmtrace/decode/record"

// underutilized is the token utilisation, in percent, below which a step counts
// as an underutilization event.
const underutilized = 50

// batchFiles has one line a step that scheduled tokens. Steps of engines whose
// limits are not known have empty utilisations and count in no mean.
func batchFiles(out *outputs, facts *Facts) Visitor {
	csv := out.csv(FileBatch, headerBatch)
	var samples, under, measured int64
	var seqs, tokens mean
	var prefill, decode mean
	return Visitor{
		Step: func(r *record.StepRow) error {
			if r.Tokens == 0 {
				return nil
			}
			samples++
			e := facts.Engine(r.Engine)
			csv.sec(r.ScheduledNS).
				int(int64(r.Requests)).known(e.MaxSeqs).pct(int64(r.Requests), int64(e.MaxSeqs)).
				int(int64(r.Tokens)).known(e.MaxTokens).pct(int64(r.Tokens), int64(e.MaxTokens)).
				text(r.Phase).optInt(r.Running).optInt(r.Waiting).end()
			if e.MaxSeqs > 0 {
				seqs.add(100 * float64(r.Requests) / float64(e.MaxSeqs))
			}
			if e.MaxTokens > 0 {
				measured++
				use := 100 * float64(r.Tokens) / float64(e.MaxTokens)
				tokens.add(use)
				if use < underutilized {
					under++
				}
				switch r.Phase {
				case record.PhasePrefill:
					prefill.add(use)
				case record.PhaseDecode:
					decode.add(use)
				}
			}
			return csv.err
		},
		Done: func() error {
			maxSeqs, maxTokens := 0, 0
			for _, e := range facts.Engines {
				maxSeqs, maxTokens = max(maxSeqs, e.MaxSeqs), max(maxTokens, e.MaxTokens)
			}
			return out.json(FileBatchSummary, object{
				{"total_samples", samples},
				{"mean_seq_utilization_pct", percent(seqs.value())},
				{"mean_token_utilization_pct", percent(tokens.value())},
				{"underutilization_events", under},
				{"prefill_avg_utilization", percent(prefill.value())},
				{"decode_avg_utilization", percent(decode.value())},
				{"max_num_seqs", maxSeqs},
				{"max_tokens", maxTokens},
			})
		},
	}
}

type mean struct {
	sum float64
	n   int64
}

func (m *mean) add(v float64) { m.sum += v; m.n++ }

func (m *mean) addKnown(v *float64) {
	if v != nil {
		m.add(*v)
	}
}

func (m *mean) value() float64 {
	if m.n == 0 {
		return 0
	}
	return m.sum / float64(m.n)
}
