package join

import (
	"encoding/binary"
	"math"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/decode/wire"
)

// Lengths of the windows by which choices are counted, from the session's zero on. A
// step is in the window in which it was scheduled.
const (
	expertWindowNS = 10_000_000_000
	pairWindowNS   = 600_000_000_000
)

// expertBook counts what tokens of an engine chose.
type expertBook struct {
	e                  *engine
	begun              bool
	window, pairWindow int64 // numbers
	layers             []expertLayer
	cells              int // of all layers' pairs
}

// expertLayer is the counts of a layer.
type expertLayer struct {
	layer   int32
	experts int // 0: not known
	topK    int32

	tokens      int64 // in the window
	first, last int64 // steps
	chosen      []int64
	pairs       []uint32 // of experts a < b at b(b-1)/2 + a
}

// begin makes the windows those of a time.
func (b *expertBook) begin(at int64) {
	window, pairWindow := floorDiv(at, expertWindowNS), floorDiv(at, pairWindowNS)
	if b.begun {
		if window > b.window {
			b.flush()
		}
		if pairWindow > b.pairWindow {
			b.flushPairs()
		}
		window, pairWindow = max(window, b.window), max(pairWindow, b.pairWindow)
	}
	b.begun, b.window, b.pairWindow = true, window, pairWindow
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// add counts what the tokens of a step chose in its n-th layer with experts. Rows behind
// them are padding.
func (b *expertBook) add(s *routed, n int, c *choices) {
	b.layered()
	if n >= len(b.layers) {
		return // of a worker that has come to be another engine's
	}
	l := &b.layers[n]
	rows := int(min(s.tokens, c.rows))
	var ids [wire.MaxTopK]uint16
	k := int(c.topK)
	if b.e.source() == record.ExpertsFromKernels {
		l.experts = max(l.experts, int(min(c.experts, maxExperts)))
		l.counts(s.num, int64(rows), c.topK)
		for row := range rows {
			b.count(l, c.row(&ids, row, k))
		}
	}
	for i := range c.weights {
		values := c.weights[i].values
		for row := c.weights[i].first; row < rows && len(values) >= 2*k; row++ {
			b.weigh(s, l, c.row(&ids, row, k), row, values[:2*k])
			values = values[2*k:]
		}
	}
}

// layered makes the layers those of the engine.
func (b *expertBook) layered() {
	for len(b.layers) < len(b.e.routed) {
		b.layers = append(b.layers, expertLayer{layer: b.e.routed[len(b.layers)]})
	}
}

// counts takes note that tokens of a step are counted.
func (l *expertLayer) counts(step, tokens int64, topK uint8) {
	l.topK = int32(topK)
	if l.tokens == 0 {
		l.first = step
	}
	l.last = step
	l.tokens += tokens
}

// row gives the experts that a row of a run chose.
func (c *choices) row(ids *[wire.MaxTopK]uint16, row, k int) []uint16 {
	for i := range k {
		at := row*k + i
		if c.bytes == 1 {
			ids[i] = uint16(c.ids[at])
			if ids[i] == 0xff && c.experts <= 0xff {
				ids[i] = noExpert
			}
		} else {
			ids[i] = binary.LittleEndian.Uint16(c.ids[2*at:])
		}
	}
	return ids[:k]
}

const noExpert = 0xffff

// count counts the experts of a token, and each pair of them.
func (b *expertBook) count(l *expertLayer, ids []uint16) {
	for i, id := range ids {
		if !l.has(id) {
			b.e.j.stats.MoE.SkippedIDs++
			continue
		}
		for int(id) >= len(l.chosen) {
			l.chosen = append(l.chosen, 0)
		}
		l.chosen[id]++
		for _, other := range ids[:i] {
			if other != id && l.has(other) {
				b.pair(l, int(min(id, other)), int(max(id, other)))
			}
		}
		b.e.j.stats.MoE.Activations++
	}
}

// has reports whether a layer has an expert of that number.
func (l *expertLayer) has(id uint16) bool {
	if l.experts > 0 {
		return int(id) < l.experts
	}
	return id < maxExperts
}

func (b *expertBook) pair(l *expertLayer, low, high int) {
	at := high*(high-1)/2 + low
	if at >= len(l.pairs) {
		more := high*(high+1)/2 - len(l.pairs)
		if b.cells+more > maxExpertPairs {
			b.e.j.losses.add(lossKey{b.e.id, "moe", "too_many_pairs"}, b.e.j.now, b.e.j.now, 1)
			return
		}
		b.cells += more
		l.pairs = append(l.pairs, make([]uint32, more)...)
	}
	l.pairs[at]++
}

// weigh hands on the weights of a token's experts.
func (b *expertBook) weigh(s *routed, l *expertLayer, ids []uint16, row int, values []byte) {
	j := b.e.j
	for i, id := range ids {
		weight := wire.Half(binary.LittleEndian.Uint16(values[2*i:]))
		if !l.has(id) || math.IsNaN(float64(weight)) || math.IsInf(float64(weight), 0) {
			j.stats.MoE.SkippedWeights++
			continue
		}
		j.rows.weight = record.MoEWeightRow{
			Engine: b.e.id, StepID: s.num, Layer: l.layer, Token: int32(row), Expert: int32(id), Weight: weight,
		}
		j.check(j.sink.MoEWeight(&j.rows.weight))
	}
}

// flush hands on the counts of the window.
func (b *expertBook) flush() {
	for i := range b.layers {
		if l := &b.layers[i]; l.tokens > 0 {
			b.emit(l)
			clear(l.chosen)
			l.tokens = 0
		}
	}
}

func (b *expertBook) emit(l *expertLayer) {
	j := b.e.j
	from := b.window * expertWindowNS
	for id, n := range l.chosen {
		if n == 0 {
			continue
		}
		j.rows.activation = record.MoEActivationRow{
			Engine: b.e.id, Layer: l.layer, FromNS: from, ToNS: from + expertWindowNS, FirstStep: l.first, LastStep: l.last,
			Expert: int32(id), Activations: n, Tokens: l.tokens, Source: b.e.source(),
		}
		j.check(j.sink.MoEActivation(&j.rows.activation))
	}
	row := &j.rows.imbalance
	*row = record.MoEImbalanceRow{
		Engine: b.e.id, Layer: l.layer, FromNS: from, ToNS: from + expertWindowNS, Tokens: l.tokens, TopK: l.topK, Source: b.e.source(),
	}
	if l.experts > 0 && l.experts >= len(l.chosen) {
		row.Experts = j.ptr.int32(int32(l.experts))
	}
	l.spread(row)
	j.check(j.sink.MoEImbalance(row))
}

// spread says how evenly the experts of a layer were chosen.
func (l *expertLayer) spread(row *record.MoEImbalanceRow) {
	n := max(l.experts, len(l.chosen))
	if n == 0 {
		return
	}
	sum, low, high := int64(0), int64(math.MaxInt64), int64(0)
	for _, c := range l.chosen {
		sum, low, high = sum+c, min(low, c), max(high, c)
		if c > 0 {
			row.Used++
		}
	}
	if len(l.chosen) < n {
		low = 0
	}
	mean, squares := float64(sum)/float64(n), 0.0
	for _, c := range l.chosen {
		squares += (float64(c) - mean) * (float64(c) - mean)
	}
	squares += float64(n-len(l.chosen)) * mean * mean
	row.StdDev = math.Sqrt(squares / float64(n))
	if low > 0 {
		ratio := float64(high) / float64(low)
		row.MaxMinRatio = &ratio
	}
}

// flushPairs hands on the pairs of their window.
func (b *expertBook) flushPairs() {
	j := b.e.j
	from := b.pairWindow * pairWindowNS
	for i := range b.layers {
		l := &b.layers[i]
		for low := range l.chosen {
			for high := low + 1; high*(high-1)/2+low < len(l.pairs); high++ {
				n := l.pairs[high*(high-1)/2+low]
				if n == 0 {
					continue
				}
				j.rows.coselection = record.MoECoselectionRow{
					Engine: b.e.id, Layer: l.layer, FromNS: from, ToNS: from + pairWindowNS,
					Expert1: int32(low), Expert2: int32(high), Count: int64(n), Source: b.e.source(),
				}
				j.check(j.sink.MoECoselection(&j.rows.coselection))
			}
		}
		clear(l.pairs)
	}
}

// close hands on what is left.
func (b *expertBook) close() {
	if b.begun {
		b.flush()
		b.flushPairs()
	}
}
