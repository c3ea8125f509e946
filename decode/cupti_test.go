package decode_test

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/go-quicktest/qt"

	"github.com/pmtrace/pmtrace/decode"
	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/decode/wire"
)

// recorded are kinds of servers that pmtrace has started.
func recorded() map[string]cudaConfig {
	return map[string]cudaConfig{
		"v1 sync":        {steps: 300, copyWait: true, captured: true, cupti: "calls"},
		"v2 async":       {steps: 300, async: true, captured: true, cupti: "calls"},
		"bound by host":  {steps: 300, async: true, hostNS: 4_000_000, cupti: "calls"},
		"drafts":         {steps: 300, async: true, drafts: true, captured: true, cupti: "calls"},
		"encoder":        {steps: 300, async: true, encoder: true, cupti: "calls"},
		"output thread":  {steps: 300, async: true, thread: true, cupti: "calls"},
		"two ranks":      {steps: 300, ranks: 2, async: true, empty: true, cupti: "calls"},
		"named late":     {steps: 1500, async: true, namedAt: 1_000_000_000, cupti: "calls"},
		"handles reused": {steps: 300, async: true, captured: true, reuse: 40, cupti: "calls"},
		"windows":        {steps: 600, async: true, cupti: "calls", windows: true},
		"windows, ranks": {steps: 600, ranks: 2, async: true, cupti: "calls", windows: true},
		"by order":       {steps: 600, async: true, cupti: "order", captured: true},
		"by order, slow": {steps: 300, async: true, hostNS: 4_000_000, cupti: "order"},
		"by order, two":  {steps: 300, ranks: 2, async: true, drafts: true, cupti: "order"},
		"by order, same": {steps: 300, async: true, same: true, cupti: "order"},
		"read late":      {steps: 300, async: true, cupti: "calls", late: 400_000_000},
		"host, late":     {steps: 300, async: true, hostNS: 4_000_000, cupti: "calls", late: 400_000_000, windows: true},
		"order, late":    {steps: 300, async: true, cupti: "order", late: 400_000_000},
		"probed late":    {steps: 300, async: true, same: true, probedAt: 37, cupti: "calls"},
	}
}

// TestExactReplays: each replay has its own times, and steps have theirs.
func TestExactReplays(t *testing.T) {
	for name, c := range recorded() {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(2) {
				c.seed = seed
				s := newCudaSim(c)
				got, sum := replay(t, s.journal())
				qt.Assert(t, qt.HasLen(got.Losses, 0))
				qt.Assert(t, qt.HasLen(got.Steps, c.steps))
				s.checkReplays(t, got)
				if c.probedAt == 0 {
					s.checkMeasured(t, got)
				}
				s.checkKernels(t, got)
				qt.Assert(t, qt.Equals(sum.Kernels, int64(len(got.Kernels))))
			}
		})
	}
}

// TestCopiesInWindows: where copies are told in windows alone, replays stay exact, and the
// times of steps within their bounds; in a window a step's are its own.
func TestCopiesInWindows(t *testing.T) {
	for name, c := range map[string]cudaConfig{
		"waits":         {steps: 900, async: true, cupti: "calls", windows: true, fewer: true},
		"bound by host": {steps: 900, async: true, hostNS: 4_000_000, cupti: "calls", windows: true, fewer: true},
		"two ranks":     {steps: 900, ranks: 2, async: true, cupti: "calls", windows: true, fewer: true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newCudaSim(c)
			got, _ := replay(t, s.journal())
			qt.Assert(t, qt.HasLen(got.Losses, 0))
			qt.Assert(t, qt.HasLen(got.Steps, c.steps))
			s.checkReplays(t, got)
			exact, bounded := 0, 0
			for i := range got.Steps {
				row := &got.Steps[i]
				want := s.truth[row.StepID]
				if want.tokens == 0 || row.StepGPUNS == nil {
					continue
				}
				miss := *row.StepGPUNS - int64(want.end-want.first)
				qt.Assert(t, qt.IsTrue(miss <= *row.GPUErrorNS && -miss <= *row.GPUErrorNS), qt.Commentf("step %d off by %d, bound %d", row.StepID, miss, *row.GPUErrorNS))
				if *row.GPUTimingSource == record.TimingCUPTI {
					exact++
				} else {
					bounded++
				}
			}
			qt.Assert(t, qt.IsTrue(exact > 0 && bounded > exact), qt.Commentf("%d exact, %d bounded", exact, bounded))
		})
	}
}

func (s *cudaSim) checkReplays(t *testing.T, got *tables) {
	t.Helper()
	for _, w := range s.workers {
		var rows []record.GraphLaunchRow
		for _, l := range got.GraphLaunches {
			if l.Worker == int32(w.index) {
				rows = append(rows, l)
			}
		}
		slices.SortStableFunc(rows, func(a, b record.GraphLaunchRow) int { return int(a.LaunchNS - b.LaunchNS) })
		qt.Assert(t, qt.HasLen(rows, len(w.inside.replays)))
		exact := 0
		for i, want := range w.inside.replays {
			row := rows[i]
			at := qt.Commentf("seed %d, worker %d, launch %d: %+v", s.seed, w.index, i, want)
			if s.cupti == "order" && (row.TimingSource == nil || *row.TimingSource != record.TimingCUPTI) {
				continue // until the first that is sure
			}
			if !want.told {
				qt.Assert(t, qt.IsTrue(row.TimingSource == nil || *row.TimingSource != record.TimingCUPTI), at)
				continue
			}
			exact++
			qt.Assert(t, qt.IsNotNil(row.TimingSource), at)
			qt.Assert(t, qt.Equals(*row.TimingSource, record.TimingCUPTI), at)
			qt.Assert(t, qt.Equals(*row.StartNS, rel(want.start)), at)
			qt.Assert(t, qt.Equals(*row.EndNS, rel(want.end)), at)
			qt.Assert(t, qt.Equals(*row.DurNS, int64(want.end-want.start)), at)
			qt.Assert(t, qt.Equals(*row.ErrorNS, 0), at)
		}
		qt.Assert(t, qt.IsTrue(exact >= len(rows)*8/10), qt.Commentf("%d of %d", exact, len(rows)))
	}
}

// checkMeasured: the times of steps are the GPU's own.
func (s *cudaSim) checkMeasured(t *testing.T, got *tables) {
	t.Helper()
	exact, graphs := 0, 0
	for i := range got.Steps {
		row := &got.Steps[i]
		want := s.truth[row.StepID]
		if want.tokens == 0 {
			continue
		}
		at := qt.Commentf("seed %d, step %d: %+v", s.seed, row.StepID, want)
		if row.StepGPUNS != nil {
			miss := *row.StepGPUNS - int64(want.end-want.first)
			qt.Assert(t, qt.IsTrue(miss <= *row.GPUErrorNS && -miss <= *row.GPUErrorNS), qt.Commentf("off by %d, bound %d: %s", miss, *row.GPUErrorNS, at))
		}
		if want.mode == "NONE" {
			qt.Assert(t, qt.IsTrue(row.GPUTimingSource == nil || *row.GPUTimingSource == record.TimingEventBound), at)
			continue
		}
		graphs++
		if row.GPUTimingSource == nil || *row.GPUTimingSource != record.TimingCUPTI {
			if s.beforeEager(row.StepID) {
				exact++ // whose copies could be taken for its own
			}
			continue
		}
		exact++
		qt.Assert(t, qt.Equals(*row.GPUStartNS, rel(want.first)), at)
		qt.Assert(t, qt.IsTrue(*row.GPUErrorNS <= 5000 || *row.GPUEndNS <= rel(want.recorded[0])+100_000), at)
		qt.Assert(t, qt.Equals(*row.TimingSource, record.TimingCUPTI), at)
		qt.Assert(t, qt.Equals(*row.ErrorBoundNS, 0), at)
		if want.mode == "FULL" {
			qt.Assert(t, qt.Equals(*row.ForwardNS, int64(want.replayed[1]-want.replayed[0])), at)
		}
	}
	if s.cupti == "calls" && !s.windows {
		qt.Assert(t, qt.Equals(exact, graphs))
	}
	qt.Assert(t, qt.IsTrue(exact >= graphs*8/10), qt.Commentf("%d of %d", exact, graphs))
}

// beforeEager reports whether the next step with tokens runs no graph, or is none.
func (s *cudaSim) beforeEager(step int64) bool {
	for _, next := range s.truth[step+1:] {
		if next.tokens > 0 {
			return next.mode == "NONE"
		}
	}
	return true
}

// checkKernels: kernels are their replays' and steps', and windows count them.
func (s *cudaSim) checkKernels(t *testing.T, got *tables) {
	t.Helper()
	leftOut, attends := 0, 0
	kernels, outside, counted, replays, windows := 0, 0, int64(0), int64(0), 0
	for _, w := range s.workers {
		kernels += w.inside.kernels
		outside += w.inside.outside
		attends += w.inside.attends
		leftOut += w.inside.leftOut
		windows += len(w.inside.windows)
	}
	rows, others, of := 0, 0, 0
	all, left := int64(kernels+outside+attends), int64(0)
	layered := s.checkLayers(t, got)
	for _, k := range got.Kernels {
		if strings.HasPrefix(k.Name, "copy ") {
			qt.Assert(t, qt.Equals(k.Name, "copy device_to_host"))
			qt.Assert(t, qt.Equals(*k.Bytes, 64))
			continue
		}
		if k.Name == kernelName(cuptiAttend) {
			attends--
			qt.Assert(t, qt.IsNil(k.GraphID))
			continue
		}
		if k.Name == kernelName(cuptiOther) {
			others++
			qt.Assert(t, qt.IsNil(k.GraphID))
			if s.truth[k.GridX].mode == "NONE" || s.beforeEager(int64(k.GridX)) {
				others-- // of whose results nothing tells for sure
				outside--
			}
			if k.StepID != nil {
				of++
				qt.Assert(t, qt.Equals(*k.StepID, int64(k.GridX)))
			}
			continue
		}
		rows++
		qt.Assert(t, qt.Equals(k.Name, kernelName(int(*k.Node-77))))
		qt.Assert(t, qt.IsNotNil(k.GraphID))
		qt.Assert(t, qt.IsNotNil(k.StepID))
		qt.Assert(t, qt.Equals(k.BlockX, 256))
	}
	qt.Assert(t, qt.Equals(rows, kernels))
	qt.Assert(t, qt.Equals(others, outside))
	qt.Assert(t, qt.Equals(attends, 0))
	qt.Assert(t, qt.IsTrue(!s.windows || layered > kernels/3), qt.Commentf("%d of %d", layered, kernels))
	qt.Assert(t, qt.IsTrue(of >= outside*9/10), qt.Commentf("%d of %d", of, outside))
	qt.Assert(t, qt.HasLen(got.Windows, windows))
	for _, w := range got.Windows {
		counted += w.Kernels
		replays += w.Replays
		left += w.LeftOut
		qt.Assert(t, qt.Equals(w.OnSwitchNS, cuptiSwitch))
		qt.Assert(t, qt.Equals(*w.OffNS-w.OnNS, cuptiWindow))
	}
	qt.Assert(t, qt.IsTrue(counted <= all && counted >= all*9/10), qt.Commentf("%d of %d", counted, all))
	qt.Assert(t, qt.Equals(replays, int64(kernels/cuptiParts)))
	qt.Assert(t, qt.Equals(left, int64(leftOut)))
}

func kernelName(i int) string { return "k_" + string(rune('a'+i)) }

// checkLayers: the kernels of pieces, and those between them, have their layers, where they
// have any. It returns how many have.
func (s *cudaSim) checkLayers(t *testing.T, got *tables) (layered int) {
	t.Helper()
	pieces := map[int32]int{}
	for _, g := range got.Graphs {
		if g.Piece != nil {
			pieces[g.GraphID] = int(*g.Piece)
		}
	}
	for _, k := range got.Kernels {
		want, behind := int32(-1), k.Name == kernelName(cuptiAttend)
		if behind && k.GridX < cudaPieces-1 {
			want = k.GridX
		}
		piece, ok := 0, false
		if k.GraphID != nil {
			piece, ok = pieces[*k.GraphID]
		}
		if ok && k.Node != nil {
			want = partLayer(piece, int(*k.Node-77))
		}
		if k.Layer != nil {
			qt.Assert(t, qt.Equals(*k.Layer, want), qt.Commentf("%s behind or in piece %d", k.Name, piece))
			layered++
		}
	}
	return layered
}

// TestLostReplays: what is lost of CUPTI's events costs its own launch, and no other gets
// its times.
func TestLostReplays(t *testing.T) {
	for name, c := range recorded() {
		if c.windows {
			continue
		}
		t.Run(name, func(t *testing.T) {
			s := newCudaSim(c)
			var kept []simRecord
			lost := 0
			for i, r := range s.journal() {
				k := wire.Kind(0)
				if r.kind == 'E' {
					k = wire.Kind(binary.LittleEndian.Uint16(r.payload[12:]))
				}
				// With pauses, since by order it needs some to begin anew.
				if (k == wire.KindCUPTIReplay || k == wire.KindCUPTICall || k == wire.KindCUPTICopy) && i%5 == 0 && i/2000%2 == 0 {
					lost++
					continue
				}
				kept = append(kept, r)
			}
			qt.Assert(t, qt.IsTrue(lost > 10))
			got, _ := replay(t, kept)
			byLaunch := map[int64]cuptiReplay{}
			for _, w := range s.workers {
				for _, r := range w.inside.replays {
					byLaunch[rel(r.start)] = r
				}
			}
			exact := 0
			for _, l := range got.GraphLaunches {
				if l.TimingSource == nil || *l.TimingSource != record.TimingCUPTI {
					continue
				}
				exact++
				want, ok := byLaunch[*l.StartNS]
				qt.Assert(t, qt.IsTrue(ok))
				qt.Assert(t, qt.Equals(*l.EndNS, rel(want.end)))
				qt.Assert(t, qt.Equals(l.LaunchNS, rel(want.call)))
			}
			qt.Assert(t, qt.IsTrue(exact > 0 || s.cupti == "order" && (s.drafts || s.late > 0))) // its GPU is never without two launches
		})
	}
}

// TestDamagedInside: whatever a recorded process writes into its ring, no row contradicts
// itself.
func TestDamagedInside(t *testing.T) {
	servers := recorded()
	for _, name := range []string{"async", "not told", "lost", "weights"} {
		servers["moe, "+name] = routed()[name]
	}
	for name, c := range servers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.steps = 60
			for seed := range uint64(20) {
				rng := rand.New(rand.NewPCG(seed, 9))
				journal := newCudaSim(c).journal()
				for i := range journal {
					r := &journal[i]
					if r.kind != 'E' || wire.Kind(binary.LittleEndian.Uint16(r.payload[12:])) < wire.KindCUPTICall || rng.IntN(4) > 0 {
						continue
					}
					for range 1 + rng.IntN(3) {
						// The reader lets no other kinds pass.
						at := wire.HeaderSize + rng.IntN(len(r.payload)-wire.HeaderSize)
						r.payload[at] = byte(rng.Uint32())
					}
					if rng.IntN(20) == 0 {
						r.payload = r.payload[:wire.HeaderSize+rng.IntN(len(r.payload)-wire.HeaderSize)]
					}
				}
				p := decode.NewPipeline(&sane{t: t, step: map[int32]int64{}}, decode.Options{})
				for _, r := range journal {
					qt.Assert(t, qt.IsNil(p.Record(r.kind, r.payload)))
				}
				_, err := p.Close()
				qt.Assert(t, qt.IsNil(err))
				// What the probes tell is as it was.
				clean, _ := replay(t, newCudaSim(c).journal())
				got, _ := replay(t, journal)
				qt.Assert(t, qt.HasLen(got.GraphLaunches, len(clean.GraphLaunches)))
				qt.Assert(t, qt.HasLen(got.Steps, len(clean.Steps)))
				for i := range got.Steps {
					a, b := got.Steps[i], clean.Steps[i]
					qt.Assert(t, qt.IsTrue(a.StepID == b.StepID && a.Tokens == b.Tokens && a.ScheduledNS == b.ScheduledNS && a.Phase == b.Phase))
					qt.Assert(t, qt.DeepEquals(a.GraphMode, b.GraphMode))
					qt.Assert(t, qt.DeepEquals(a.EndNS, b.EndNS))
				}
			}
		})
	}
}
