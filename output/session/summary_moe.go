package session

import "fmt"

// MoESummary says how evenly tokens chose experts. Engines are added up.
type MoESummary struct {
	Layers      int
	Experts     int64 // of the layer with most
	TopK        int64
	Activations int64
	Worst       int32   // layer whose experts were chosen least evenly
	Balance     float64 // of it: the most chosen expert's activations to the mean
	Cold        int64   // experts that were never chosen, of all layers
	ColdLayers  int     // that have some
	layers      moeLayers
}

func (m *MoESummary) finish() {
	m.Layers = len(m.layers)
	for _, index := range sortedKeys(m.layers) {
		l := m.layers[index]
		s := l.spread()
		m.Experts, m.TopK = max(m.Experts, s.experts), max(m.TopK, l.topK)
		m.Activations += s.total
		if b := s.balance(); b > m.Balance {
			m.Worst, m.Balance = index, b
		}
		if s.used < s.experts {
			m.Cold += s.experts - s.used
			m.ColdLayers++
		}
	}
}

func (m *MoESummary) text() string {
	line := fmt.Sprintf("%d layers, %d experts, top %d; %d activations; the most chosen expert has %.2f times the mean in the worst layer (%d)",
		m.Layers, m.Experts, m.TopK, m.Activations, m.Balance, m.Worst)
	if m.Cold == 0 {
		return line + "; every expert was chosen"
	}
	return line + fmt.Sprintf("; %d experts never chosen, in %d layers", m.Cold, m.ColdLayers)
}
