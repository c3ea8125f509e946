package decode_test

import (
	"testing"

	"github.com/go-quicktest/qt"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/decode/wire"
)

// buffers are servers that copy their routed experts to the host, by vLLM's designs.
func buffers() map[string]bufferConfig {
	base := bufferConfig{layers: []int32{0, 2, 3}, hidden: 5, experts: 16, topK: 4, width: 1, piece: 8192}
	with := func(f func(*bufferConfig)) bufferConfig {
		c := base
		f(&c)
		return c
	}
	return map[string]bufferConfig{
		"bytes":       base,
		"in pieces":   with(func(c *bufferConfig) { c.piece = 64 }),
		"odd pieces":  with(func(c *bufferConfig) { c.piece, c.width = 37, 2 }),
		"int32":       with(func(c *bufferConfig) { c.width = 4 }),
		"int64":       with(func(c *bufferConfig) { c.width, c.topK = 8, 1 }),
		"wide":        with(func(c *bufferConfig) { c.width, c.experts, c.layers, c.hidden = 2, 300, []int32{1}, 2 }),
		"256 experts": with(func(c *bufferConfig) { c.experts, c.layers, c.hidden = 256, []int32{1}, 2 }),
		"fails":       with(func(c *bufferConfig) { c.fails = 5 }),
		"strange":     with(func(c *bufferConfig) { c.strange, c.width = 3, 2 }),
	}
}

func (b *bufferSim) check(t *testing.T, got *tables) {
	t.Helper()
	chosen, pairs := map[[2]int32]int64{}, map[[3]int32]int64{}
	for _, r := range got.Activations {
		qt.Assert(t, qt.Equals(r.Source, record.ExpertsFromBuffers))
		chosen[[2]int32{r.Layer, r.Expert}] += r.Activations
	}
	for _, r := range got.Coselections {
		pairs[[3]int32{r.Layer, r.Expert1, r.Expert2}] += r.Count
	}
	qt.Check(t, qt.DeepEquals(chosen, b.chosen))
	qt.Check(t, qt.DeepEquals(pairs, b.pairs))
}

// TestBuffersAreTheTruth: of each token of each step is counted what vLLM's own buffer says,
// and of layers without experts nothing; a step of which nothing came is missing.
func TestBuffersAreTheTruth(t *testing.T) {
	for name, c := range buffers() {
		for server, sc := range servers() {
			t.Run(name+", "+server, func(t *testing.T) {
				sc.requests = min(sc.requests, 40)
				s := newSim(sc)
				s.buffer = newBufferSim(c)
				s.run()
				got, sum := replay(t, s.events)
				s.buffer.check(t, got)
				qt.Check(t, qt.Equals(sum.MoE.SkippedIDs, s.buffer.other))
				failed, none := 0, int64(s.buffer.states[wire.RoutedNone])*int64(len(c.layers))
				for _, n := range s.buffer.states {
					failed += n
				}
				qt.Check(t, qt.Equals(sum.MoE.MissingLayers, int64(failed*len(c.layers))))
				lost := int64(0)
				for _, l := range got.Losses {
					qt.Check(t, qt.Equals(l.Reason, "step_without_choices"))
					lost += l.Count
				}
				qt.Check(t, qt.Equals(lost, none)) // the others the kernel counts
			})
		}
	}
}

// TestLostBuffers: what the ring had no room for costs the steps that it was of. What is
// counted is true, and each step with tokens is either counted or missing.
func TestLostBuffers(t *testing.T) {
	for server, sc := range servers() {
		for _, drop := range []float64{0.005, 0.05, 0.3} {
			sc.drop, sc.requests = drop, min(sc.requests, 40)
			c := buffers()["in pieces"]
			c.experts = c.topK // whoever is counted has chosen all
			s := newSim(sc)
			s.buffer = newBufferSim(c)
			s.run()
			got, sum := replay(t, s.events)
			tokens := map[int32]int64{}
			for _, r := range got.Imbalances {
				tokens[r.Layer] += r.Tokens
				qt.Assert(t, qt.Equals(int64(r.Used), int64(c.experts)))
			}
			steps := int64(0)
			for _, st := range got.Steps {
				if st.Tokens > 0 {
					steps++
				}
			}
			for _, l := range c.layers[1:] {
				qt.Check(t, qt.Equals(tokens[l], tokens[c.layers[0]]), qt.Commentf("%s, %v", server, drop))
			}
			qt.Check(t, qt.Equals(sum.MoE.Passes+sum.MoE.MissingLayers/int64(len(c.layers)), steps), qt.Commentf("%s, %v", server, drop))
			for _, r := range got.Activations {
				qt.Assert(t, qt.Equals(r.Activations, r.Tokens))
			}
		}
	}
}
