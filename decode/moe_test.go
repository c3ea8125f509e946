package decode_test

import (
	"cmp"
	"encoding/json"
	"math"
	"slices"
	"testing"

	"github.com/go-quicktest/qt"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/decode/wire"
)

// routed are kinds of recorded servers whose model has experts.
func routed() map[string]cudaConfig {
	layers := []int32{1, 2, 3, 5, 7, 8}
	base := cudaConfig{steps: 240, cupti: "calls", captured: true, moe: moeConfig{layers: layers, experts: 40, topK: 4, told: 40}}
	with := func(f func(*cudaConfig)) cudaConfig {
		c := base
		f(&c)
		return c
	}
	return map[string]cudaConfig{
		"sync":             base,
		"async":            with(func(c *cudaConfig) { c.async = true }),
		"v1":               with(func(c *cudaConfig) { c.copyWait = true; c.moe.weights = 5 }),
		"output":           with(func(c *cudaConfig) { c.async, c.thread = true, true }),
		"host":             with(func(c *cudaConfig) { c.async, c.hostNS = true, 4_000_000 }),
		"empty steps":      with(func(c *cudaConfig) { c.async, c.empty = true, true }),
		"ranks":            with(func(c *cudaConfig) { c.async, c.ranks = true, 2 }),
		"by order":         with(func(c *cudaConfig) { c.async, c.cupti = true, "order" }),
		"dummies":          with(func(c *cudaConfig) { c.moe.dummies = true }),
		"dummies, windows": with(func(c *cudaConfig) { c.moe.dummies, c.windows = true, true }),
		"dummies, order":   with(func(c *cudaConfig) { c.moe.dummies, c.cupti = true, "order" }),
		"pauses":           with(func(c *cudaConfig) { c.async, c.moe.pause = true, 4_000_000_000 }),
		"long":             with(func(c *cudaConfig) { c.moe.pause, c.moe.dummies, c.steps = 250_000_000_000, true, 160 }),
		"wide":             with(func(c *cudaConfig) { c.moe.experts, c.moe.told, c.moe.wide, c.steps = 300, 300, true, 80 }),
		"not told":         with(func(c *cudaConfig) { c.moe.told = 0 }),
		"weights":          with(func(c *cudaConfig) { c.async, c.moe.weights = true, 3 }),
		"read late":        with(func(c *cudaConfig) { c.async, c.late = true, 400_000_000 }),
		"named late":       with(func(c *cudaConfig) { c.async, c.namedAt, c.captured = true, 1_000_000_000, false }),
		"read in workers":  with(func(c *cudaConfig) { c.async, c.ranks, c.moe.inWorker = true, 2, true }),
		"idle rank":        with(func(c *cudaConfig) { c.moe.pause, c.moe.idle, c.steps = 40_000_000_000, 5000, 90 }),
		"one layer":        with(func(c *cudaConfig) { c.async, c.moe.layers = true, []int32{0} }),
		"lost":             with(func(c *cudaConfig) { c.async, c.moe.lost = true, 0.1 }),
		"lost, sync":       with(func(c *cudaConfig) { c.moe.lost, c.moe.dummies = 0.3, true }),
		"lost, same":       with(func(c *cudaConfig) { c.async, c.same, c.moe.lost = true, true, 0.3 }),
		"bursts":           with(func(c *cudaConfig) { c.async, c.same, c.moe.burst = true, true, 71 }),
		"bursts, host":     with(func(c *cudaConfig) { c.async, c.same, c.moe.burst, c.hostNS = true, true, 71, 4_000_000 }),
		"bursts, mix":      with(func(c *cudaConfig) { c.async, c.moe.burst = true, 131 }),
	}
}

// TestChoicesAreTheTruth: every choice of every token is counted, where it was made.
func TestChoicesAreTheTruth(t *testing.T) {
	for name, c := range routed() {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(2) {
				c.seed = seed
				s := newCudaSim(c)
				got, sum := replay(t, s.journal())
				qt.Assert(t, qt.HasLen(got.Steps, c.steps))
				s.checkChoices(t, got)
				s.checkLostRuns(t, got, false)
				if c.moe.lost == 0 && c.moe.burst == 0 {
					qt.Assert(t, qt.HasLen(got.Losses, 0))
					qt.Assert(t, qt.Equals(sum.MoE.DummyPasses, int64(s.workers[0].routing.dummies)))
					qt.Assert(t, qt.Equals(sum.MoE.MissingLayers, 0))
				}
			}
		})
	}
}

// TestLostEventsOfRouting: what the ring had no room for costs the runs that it was of,
// and is in the ring's own count.
func TestLostEventsOfRouting(t *testing.T) {
	for name, c := range routed() {
		t.Run(name, func(t *testing.T) {
			c.moe.lost, c.moe.burst = 0, 0
			s := newCudaSim(c)
			got, _ := replay(t, s.dropRouting(s.journal(), 9))
			s.checkChoices(t, got)
			s.checkLostRuns(t, got, true)
		})
	}
}

// TestUnroutable: where runs cannot be told layers, each is a loss, and nothing is counted.
func TestUnroutable(t *testing.T) {
	for why, change := range map[string]func(*moeConfig){
		"layers_unknown": func(c *moeConfig) { c.hidden = true },
		"draft_model":    func(c *moeConfig) { c.drafts = 2 },
	} {
		c := routed()["async"]
		change(&c.moe)
		s := newCudaSim(c)
		got, sum := replay(t, s.journal())
		qt.Assert(t, qt.HasLen(got.Losses, 1))
		qt.Check(t, qt.Equals(got.Losses[0].Probe+"/"+got.Losses[0].Reason, "moe/"+why))
		qt.Check(t, qt.Equals(got.Losses[0].Count, int64(len(s.workers[0].routing.runs))))
		qt.Check(t, qt.HasLen(got.Activations, 0))
		qt.Check(t, qt.Equals(sum.MoE.Activations, 0))
	}
}

// TestLossesOfTwoViews: what the library counts as overwritten is in the gaps of the
// runs' numbers, too, and is one loss.
func TestLossesOfTwoViews(t *testing.T) {
	c := routed()["lost"]
	s := newCudaSim(c)
	journal := s.journal()
	lost := uint64(0)
	for _, w := range s.workers {
		for _, r := range w.routing.runs {
			if r.lost {
				lost++
			}
		}
	}
	for _, counted := range []uint64{lost / 2, lost, lost + 7} {
		list := slices.Clone(journal)
		for i, n := range []uint64{counted / 3, counted} { // before its events, and after
			b, err := json.Marshal(record.Fact{Losses: &record.Losses{
				MonoNS: simStart + 1, Counts: []record.Loss{{Engine: -1, Probe: "moe", Reason: "overwritten", Count: n, Lost: true}},
			}})
			qt.Assert(t, qt.IsNil(err))
			list = slices.Insert(list, (i+1)*len(journal)/3, simRecord{'F', b})
		}
		got, _ := replay(t, list)
		total := uint64(0)
		for _, l := range got.Losses {
			qt.Check(t, qt.Equals(l.Probe, "moe"))
			total += uint64(l.Count)
		}
		qt.Check(t, qt.Equals(total, max(lost, counted)))
	}
}

// TestChoicesAgain: the same journal gives the same rows.
func TestChoicesAgain(t *testing.T) {
	journal := newCudaSim(routed()["weights"]).journal()
	one, _ := replay(t, journal)
	two, _ := replay(t, journal)
	qt.Assert(t, qt.DeepEquals(one.Activations, two.Activations))
	qt.Assert(t, qt.DeepEquals(one.Coselections, two.Coselections))
	qt.Assert(t, qt.DeepEquals(one.Weights, two.Weights))
	qt.Assert(t, qt.DeepEquals(one.Imbalances, two.Imbalances))
}

// choiceKey is what choices are counted by.
type choiceKey struct {
	window   int64
	layer    int32
	one, two int32
}

// choiceTruth is what was told of choices.
type choiceTruth struct {
	chosen, pairs map[choiceKey]int64
	tokens        map[choiceKey]int64
	weights       []record.MoEWeightRow
}

func (s *cudaSim) choices() choiceTruth {
	truth := choiceTruth{chosen: map[choiceKey]int64{}, pairs: map[choiceKey]int64{}, tokens: map[choiceKey]int64{}}
	for _, r := range s.workers[0].routing.runs {
		if r.lost || r.step == nil {
			continue
		}
		at := rel(r.step.scheduled)
		window, pairs := at/10_000_000_000, at/600_000_000_000
		truth.tokens[choiceKey{window, r.layer, 0, 0}] += int64(r.step.tokens)
		for row, ids := range r.ids[:r.step.tokens] {
			for i, id := range ids {
				if id == 0xffff {
					continue
				}
				truth.chosen[choiceKey{window, r.layer, int32(id), 0}]++
				for _, other := range ids[:i] {
					if other != 0xffff {
						truth.pairs[choiceKey{pairs, r.layer, int32(min(id, other)), int32(max(id, other))}]++
					}
				}
				if len(r.weights) > 0 && r.weights[row] != nil {
					truth.weights = append(truth.weights, record.MoEWeightRow{
						StepID: int64(r.step.num), Layer: r.layer, Token: int32(row), Expert: int32(id), Weight: wire.Half(r.weights[row][i]),
					})
				}
			}
		}
	}
	return truth
}

func (s *cudaSim) checkChoices(t *testing.T, got *tables) {
	t.Helper()
	truth := s.choices()
	at := qt.Commentf("seed %d", s.seed)
	qt.Assert(t, qt.IsTrue(len(truth.chosen) > 0))
	chosen, pairs, tokens := map[choiceKey]int64{}, map[choiceKey]int64{}, map[choiceKey]int64{}
	for _, r := range got.Activations {
		chosen[choiceKey{r.FromNS / 10_000_000_000, r.Layer, r.Expert, 0}] += r.Activations
		qt.Assert(t, qt.Equals(r.Tokens, truth.tokens[choiceKey{r.FromNS / 10_000_000_000, r.Layer, 0, 0}]), at)
		for _, step := range []int64{r.FirstStep, r.LastStep} {
			scheduled := rel(s.truth[step].scheduled)
			qt.Assert(t, qt.IsTrue(scheduled >= r.FromNS && scheduled < r.ToNS))
		}
	}
	for _, r := range got.Coselections {
		qt.Assert(t, qt.IsTrue(r.Expert1 < r.Expert2))
		pairs[choiceKey{r.FromNS / 600_000_000_000, r.Layer, r.Expert1, r.Expert2}] += r.Count
	}
	for _, r := range got.Imbalances {
		tokens[choiceKey{r.FromNS / 10_000_000_000, r.Layer, 0, 0}] += r.Tokens
		s.checkSpread(t, &r, truth.chosen)
	}
	qt.Assert(t, qt.DeepEquals(tokens, truth.tokens), at)
	qt.Assert(t, qt.DeepEquals(chosen, truth.chosen), at)
	qt.Assert(t, qt.DeepEquals(pairs, truth.pairs), at)
	qt.Assert(t, qt.HasLen(got.Weights, len(truth.weights)), at)
	qt.Assert(t, qt.DeepEquals(got.Weights, truth.weights), at)
	qt.Assert(t, qt.IsTrue(slices.IsSortedFunc(got.Activations, func(a, b record.MoEActivationRow) int {
		return cmp.Or(cmp.Compare(a.FromNS, b.FromNS), cmp.Compare(a.Layer, b.Layer), cmp.Compare(a.Expert, b.Expert))
	})))
	qt.Assert(t, qt.IsTrue(slices.IsSortedFunc(got.Coselections, func(a, b record.MoECoselectionRow) int {
		return cmp.Or(cmp.Compare(a.FromNS, b.FromNS), cmp.Compare(a.Layer, b.Layer), cmp.Compare(a.Expert1, b.Expert1), cmp.Compare(a.Expert2, b.Expert2))
	})))
}

// checkSpread compares a window's balance with its counts.
func (s *cudaSim) checkSpread(t *testing.T, r *record.MoEImbalanceRow, chosen map[choiceKey]int64) {
	t.Helper()
	qt.Assert(t, qt.Equals(r.TopK, int32(s.moe.topK)))
	if s.moe.told == 0 {
		qt.Assert(t, qt.IsNil(r.Experts))
		return
	}
	qt.Assert(t, qt.Equals(*r.Experts, int32(s.moe.told)))
	var counts []float64
	sum, used := 0.0, int32(0)
	for id := range s.moe.told {
		n := float64(chosen[choiceKey{r.FromNS / 10_000_000_000, r.Layer, int32(id), 0}])
		counts = append(counts, n)
		sum += n
		if n > 0 {
			used++
		}
	}
	squares := 0.0
	for _, n := range counts {
		squares += (n - sum/float64(len(counts))) * (n - sum/float64(len(counts)))
	}
	qt.Assert(t, qt.Equals(r.Used, used))
	qt.Assert(t, qt.IsTrue(math.Abs(r.StdDev-math.Sqrt(squares/float64(len(counts)))) < 1e-6))
	if low := slices.Min(counts); low > 0 {
		qt.Assert(t, qt.IsTrue(math.Abs(*r.MaxMinRatio-slices.Max(counts)/low) < 1e-9))
	} else {
		qt.Assert(t, qt.IsNil(r.MaxMinRatio))
	}
}

// checkLostRuns: each run that was lost is counted once, of whatever rank: by the next
// number, or where none came, by its step. missed: the ring has counted the former.
func (s *cudaSim) checkLostRuns(t *testing.T, got *tables, missed bool) {
	t.Helper()
	gaps, behind := int64(0), int64(0)
	for i, w := range s.workers {
		n, of := int64(0), int64(0)
		for _, r := range w.routing.runs {
			switch {
			case !r.lost:
				gaps += n
				n, of = 0, 0
				continue
			case r.step != nil && i == 0:
				of++
			}
			n++
		}
		behind += of
	}
	if missed {
		gaps = 0
	}
	counted := map[string]int64{}
	for _, l := range got.Losses {
		if l.Probe == "moe" {
			counted[l.Reason] += l.Count
		}
	}
	qt.Check(t, qt.Equals(counted["overwritten"], gaps))
	qt.Check(t, qt.Equals(counted["step_without_choices"], behind))
}
