package session

import (
	"cmp"
	"fmt"
	"math"

	"github.com/pmtrace/pmtrace/decode/record"
)

// moeLayer is what tokens chose in a layer, in all windows and of all engines.
type moeLayer struct {
	experts, topK int64 // experts 0: not known
	tokens        int64
	chosen        []int64
	pairs         []int64 // of experts a < b at b(b-1)/2 + a
}

// moeLayers are the layers with experts, by index.
type moeLayers map[int32]*moeLayer

func (m moeLayers) layer(index int32) *moeLayer {
	l := m[index]
	if l == nil {
		l = &moeLayer{}
		m[index] = l
	}
	return l
}

func (m moeLayers) activation(r *record.MoEActivationRow) {
	if r.Expert >= 0 && r.Expert < maxExperts {
		add(&m.layer(r.Layer).chosen, int(r.Expert), r.Activations)
	}
}

func (m moeLayers) imbalance(r *record.MoEImbalanceRow) {
	l := m.layer(r.Layer)
	l.tokens += r.Tokens
	l.topK = max(l.topK, int64(r.TopK))
	if r.Experts != nil {
		l.experts = max(l.experts, int64(*r.Experts))
	}
}

func (m moeLayers) coselection(r *record.MoECoselectionRow) {
	low, high := int(r.Expert1), int(r.Expert2)
	if low >= 0 && low < high && high < maxExperts {
		add(&m.layer(r.Layer).pairs, high*(high-1)/2+low, r.Count)
	}
}

// maxExperts bounds the experts of a layer.
const maxExperts = 4096

func add(to *[]int64, at int, n int64) {
	if at >= len(*to) {
		*to = append(*to, make([]int64, at+1-len(*to))...)
	}
	(*to)[at] += n
}

// spread says how evenly experts were chosen.
type spread struct {
	experts, used   int64
	total, min, max int64
	std             float64
}

func (l *moeLayer) spread() spread {
	s := spread{experts: max(l.experts, int64(len(l.chosen)))}
	for id := range s.experts {
		n := int64(0)
		if id < int64(len(l.chosen)) {
			n = l.chosen[id]
		}
		if n > 0 {
			s.used++
		}
		if s.total, s.max = s.total+n, max(s.max, n); id == 0 || n < s.min {
			s.min = n
		}
	}
	squares := float64(s.experts-int64(len(l.chosen))) * s.mean() * s.mean()
	for _, n := range l.chosen {
		squares += (float64(n) - s.mean()) * (float64(n) - s.mean())
	}
	if s.experts > 0 {
		s.std = math.Sqrt(squares / float64(s.experts))
	}
	return s
}

func (s *spread) mean() float64 { return float64(s.total) / float64(max(s.experts, 1)) }

// balance is 1 where all experts were chosen alike.
func (s *spread) balance() float64 {
	if s.total == 0 {
		return 0
	}
	return float64(s.max) / s.mean()
}

// moeFiles has one line an expert, one a pair of experts that a token chose together, one
// a weight, and one a layer and window of 10 s.
func moeFiles(out *outputs, _ *Facts) Visitor {
	out.mkdir(moeDir)
	activations := out.csv(FileMoEActivations, headerMoEActivations)
	coselection := out.csv(FileMoECoselection, headerMoECoselection)
	weights := out.csv(FileMoEWeights, headerMoEWeights)
	imbalance := out.csv(FileMoEImbalance, headerMoEImbalance)
	layers := moeLayers{}
	return Visitor{
		MoEActivation:  func(r *record.MoEActivationRow) error { layers.activation(r); return nil },
		MoECoselection: func(r *record.MoECoselectionRow) error { layers.coselection(r); return nil },
		MoEWeight: func(r *record.MoEWeightRow) error {
			weights.int(int64(r.Layer)).int(int64(r.Token)).int(int64(r.Expert)).float(float64(r.Weight), 6).end()
			return weights.err
		},
		MoEImbalance: func(r *record.MoEImbalanceRow) error {
			layers.imbalance(r)
			imbalance.int(int64(r.Layer)).sec(r.FromNS).float(r.StdDev, 3)
			if r.MaxMinRatio != nil {
				imbalance.float(*r.MaxMinRatio, 3).end()
			} else {
				imbalance.comma().end()
			}
			return imbalance.err
		},
		Done: func() error {
			for _, index := range sortedKeys(layers) {
				layers[index].lines(index, activations, coselection)
			}
			if err := cmp.Or(activations.err, coselection.err); err != nil {
				return err
			}
			return out.json(FileMoESummary, layers.json())
		},
	}
}

// lines writes the layer's experts, and their pairs.
func (l *moeLayer) lines(index int32, activations, coselection *csvFile) {
	total := l.spread().total
	for id, n := range l.chosen {
		if n > 0 {
			activations.int(int64(index)).int(int64(id)).int(n).pct(n, total).end()
		}
	}
	for low := range l.chosen {
		for high := low + 1; high*(high-1)/2+low < len(l.pairs); high++ {
			if n := l.pairs[high*(high-1)/2+low]; n > 0 {
				coselection.int(int64(index)).int(int64(low)).int(int64(high)).int(n).end()
			}
		}
	}
}

func (m moeLayers) json() object {
	list := object{}
	for _, index := range sortedKeys(m) {
		l := m[index]
		s := l.spread()
		o := object{
			{"num_experts", s.experts}, {"top_k", l.topK}, {"total_activations", s.total}, {"unique_experts_activated", s.used},
			{"activation_coverage_pct", percent(ratio(s.used, s.experts))}, {"mean_activations_per_expert", rounded(s.mean())},
			{"std_dev_activations", rounded(s.std)}, {"min_activations", s.min}, {"max_activations", s.max}, {"load_balance_ratio", nil},
		}
		if s.min > 0 { // else there is none
			o[len(o)-1].value = rounded(float64(s.max) / float64(s.min))
		}
		list = append(list, member{fmt.Sprintf("layer_%d", index), o})
	}
	return list
}
