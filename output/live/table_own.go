package live

import "github.com/pmtrace/pmtrace/decode/record"

// ownMetrics are of the tracing itself.
func ownMetrics() []Metric {
	return []Metric{
		{
			Name: "pmtrace.lost_events", Kind: Counter, Unit: "{event}",
			Help:  "Events that are missing, also those of which it is not known yet why. While it rises, the other figures are too low.",
			state: func(v *vector, s *State) { v.raise(s.Lost, labels{}) },
		},
		{
			Name: "pmtrace.losses", Kind: Counter, Unit: "{event}", Labels: []string{labelEngine, labelProbe, labelReason},
			Help: "Events that are missing, by the probe and the reason.",
			loss: func(v *vector, r *record.LossRow) { v.add(r.Count, labels{numberOf(r.Engine), r.Probe, r.Reason}) },
		},
		{
			Name: "pmtrace.session.duration", Kind: Gauge, Unit: "s",
			Help:  "How long the server has been traced.",
			state: func(v *vector, s *State) { v.set(float64(s.DurationNS)/1e9, labels{}) },
		},
		{
			Name: "pmtrace.session.delay", Kind: Gauge, Unit: "s",
			Help:  "By how much the figures are behind the newest event: steps are counted when the GPU's side of them is known.",
			state: func(v *vector, s *State) { v.set(float64(s.DelayNS)/1e9, labels{}) },
		},
		{
			Name: "pmtrace.export.sent", Kind: Counter, Unit: "{item}", Labels: []string{labelExporter, labelSignal},
			Help: "What an exporter has delivered: spans of requests, and rounds of metrics.",
			state: func(v *vector, s *State) {
				for _, e := range s.Exports {
					v.raise(e.Sent, labels{e.Exporter, e.Signal})
				}
			},
		},
		{
			Name: "pmtrace.export.dropped", Kind: Counter, Unit: "{item}", Labels: []string{labelExporter, labelSignal},
			Help: "What an exporter has dropped because its endpoint was not there, too slow, or refused it. The session has it all the same.",
			state: func(v *vector, s *State) {
				for _, e := range s.Exports {
					v.raise(e.Dropped, labels{e.Exporter, e.Signal})
				}
			},
		},
	}
}
