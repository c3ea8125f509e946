package cupti

import (
	"fmt"
	"math"
	"testing"

	"github.com/go-quicktest/qt"

	"github.com/pmtrace/pmtrace/decode/wire"
)

// Routing kernels as vLLM 0.33 has them.
const (
	softmax   = "_ZN4vllm3moe10topkGatingILi8ELi64ELi4ELi16ELi32Ei13__nv_bfloat16LNS0_11ScoringFuncE0EEEvPKT5_PKbPfiPT4_PiiiibPKfdS8_"
	sigmoid64 = "_ZN4vllm3moe10topkGatingILi18ELi576ELi4ELi4ELi32El13__nv_bfloat16LNS0_11ScoringFuncE1EEEvPKT5_PKbPfiPT4_PiiiibPKfdS8_"
	plain     = "_ZN4vllm3moe7moeTopKILi256EjEEvPKfPKbPfPT0_PiiiiibS3_dS5_"
	grouped   = "_ZN4vllm3moe44grouped_topk_fused_small_expert_count_kernelI13__nv_bfloat16S2_iLNS0_11ScoringFuncE0ELi256ELb1ELi8EEEvPT_PfPT1_PKT0_llllllbd"
	single    = "_ZN4vllm3moe17single_group_topk6detail29single_group_topk_warp_kernelIffiLNS0_11ScoringFuncE1ELi128ELi8EEEvPKT_PfPT1_PKT0_lllbfb"
	block     = "_ZN4vllm3moe17single_group_topk6detail30single_group_topk_block_kernelI13__nv_bfloat166__halfiLNS0_11ScoringFuncE0ELi1024ELi16EEEvPKT_PfPT1_PKT0_llbfb"
	changed   = "_ZN4vllm3moe10topkGatingILi8ELi64ELi4ELi16ELi32Ei13__nv_bfloat16LNS0_11ScoringFuncE0EEEvPKT5_PKbPfPT4_iPiiiibPKfdS8_"
	other     = "_ZN4vllm18act_and_mul_kernelIN3c108BFloat16EEvPT_"
)

// routed is a routing kernel's run as it must be told.
type routed struct {
	rows, k, experts int
	seed             uint
}

// id and weight are what testdata/host.c lets the kernel choose.
func (r routed) id(row, i int) int {
	return int((r.seed*7 + uint(row)*13 + uint(i)*5) % uint(r.experts))
}

func (r routed) weight(row, i int) float64 { return 1/float64(1+i) + float64(row%4) }

func (h *host) route(name string, layer int, r routed, ex int) {
	h.t.Helper()
	qt.Assert(h.t, qt.Equals(h.do("route %s %d %d %d %d %d %d", name, layer, r.rows, r.k, r.experts, r.seed, ex), "routed"))
}

// chosen compares what is told with what was chosen; it returns the runs with weights.
func (h *host) chosen(want []routed) (weighed int) {
	h.t.Helper()
	rows := 0
	for _, w := range want {
		rows += w.rows
	}
	told := func() (n int) {
		for _, e := range each(h, wire.KindCUPTIMoE, (*wire.CUPTIMoE).Read) {
			n += int(e.Count)
		}
		return n
	}
	h.until("all told", func() bool { return told() >= rows })
	run, next := 0, 0
	for _, e := range each(h, wire.KindCUPTIMoE, (*wire.CUPTIMoE).Read) {
		w := want[run]
		at := qt.Commentf("run %d of %+v: %+v", run, w, e.Run)
		qt.Assert(h.t, qt.Equals(int(e.Run), run), at)
		qt.Assert(h.t, qt.Equals(int(e.Rows), w.rows), at)
		qt.Assert(h.t, qt.Equals(int(e.First), next), at)
		qt.Assert(h.t, qt.Equals(int(e.TopK), w.k), at)
		qt.Assert(h.t, qt.Equals(int(e.Experts), w.experts), at)
		for row := range int(e.Count) {
			for i := range w.k {
				qt.Assert(h.t, qt.Equals(int(e.ID(row, i)), w.id(next+row, i)), at)
				if e.Flags&wire.CUPTIMoEWeights != 0 {
					diff := math.Abs(float64(e.Weight(row, i)) - w.weight(next+row, i))
					qt.Assert(h.t, qt.IsTrue(diff < 2e-3), at)
				}
			}
		}
		if next += int(e.Count); next == w.rows {
			if e.Flags&wire.CUPTIMoEWeights != 0 {
				weighed++
			}
			run, next = run+1, 0
		}
	}
	qt.Assert(h.t, qt.Equals(run, len(want)))
	return weighed
}

func newMoE(t *testing.T, o hostOptions) *host {
	t.Helper()
	h := newHost(t, o)
	qt.Assert(t, qt.Equals(h.do("cuda"), "cuda"))
	h.load(Running)
	return h
}

// TestChosen: what each routing kernel chose is told, run by run, eagerly and of graphs.
func TestChosen(t *testing.T) {
	h := newMoE(t, hostOptions{moe: 3, ring: 1 << 20})
	qt.Assert(t, qt.IsTrue(h.state.MoE))
	var want []routed
	for i, c := range []struct {
		name string
		r    routed
	}{
		{softmax, routed{32, 8, 64, 1}},
		{other, routed{32, 8, 64, 2}}, // chooses nothing
		{sigmoid64, routed{3, 6, 576, 3}},
		{plain, routed{5, 4, 60, 4}},
		{grouped, routed{7, 8, 256, 5}},
		{softmax, routed{1, 2, 8, 6}},
		{softmax, routed{9000, 8, 64, 7}}, // in several events
		{sigmoid64, routed{2000, 8, 576, 8}},
		{single, routed{11, 8, 128, 9}},
		{block, routed{3, 16, 1000, 10}},
	} {
		h.route(c.name, 15, c.r, i%2)
		if c.name != other {
			want = append(want, c.r)
		}
	}
	h.chosen(want)

	// A graph of three layers: captured once, replayed with other tokens.
	qt.Assert(t, qt.Equals(h.do("capture 1"), "0"))
	layers := []routed{{16, 8, 64, 0}, {16, 8, 64, 0}, {16, 8, 64, 0}}
	for i, r := range layers {
		h.route(softmax, i, r, 0)
	}
	qt.Assert(t, qt.Equals(h.do("capture 0"), "3"))
	const replays = 200
	for seed := range uint(replays) {
		h.do("replay %d", seed)
		for i, r := range layers {
			r.seed = seed + uint(i)
			want = append(want, r)
		}
	}
	weighed := h.chosen(want)
	qt.Assert(t, qt.IsTrue(weighed > len(want)/6 && weighed < len(want)/2), qt.Commentf("%d of %d", weighed, len(want)))
	ordinals := map[uint32]int{}
	for _, e := range each(h, wire.KindCUPTIMoE, (*wire.CUPTIMoE).Read) {
		ordinals[e.Ordinal]++
	}
	for i := range 3 { // a node keeps the number of its capture
		qt.Assert(t, qt.Equals(ordinals[uint32(9+i)], replays))
	}
	h.until("the clock", func() bool { return h.count(wire.KindCUPTIClock) > 0 })
	for _, c := range each(h, wire.KindCUPTIClock, (*wire.CUPTIClock).Read) {
		gpu := c.GPU - 1_700_000_000_000_000_000 // testdata/cuda.h
		qt.Assert(t, qt.IsTrue(c.Before <= gpu && gpu <= c.After))
	}
	qt.Assert(t, qt.HasLen(h.reader.Losses(), 0))
	h.exits("exit 0", 0)
}

// TestChosenLost: the GPU does not wait; what is written over is counted.
func TestChosenLost(t *testing.T) {
	h := newMoE(t, hostOptions{moe: 1 << 20, ring: 1 << 20, env: []string{"PMTRACE_CUPTI_MOE_RING=65536"}})
	h.do("capture 0")
	const runs = 4000
	for range runs / 100 {
		for i := range 100 {
			h.route(softmax, 0, routed{32, 8, 64, uint(i)}, 0)
		}
	}
	h.route(softmax, 0, routed{1, 8, 64, 77}, 0)
	last := func() (run uint32) {
		for _, e := range each(h, wire.KindCUPTIMoE, (*wire.CUPTIMoE).Read) {
			run = e.Run
		}
		return run
	}
	h.until("the last", func() bool { return last() == runs })
	told := h.count(wire.KindCUPTIMoE)
	lost := 0
	for _, l := range h.reader.Losses() {
		qt.Assert(t, qt.Equals(l.Probe, "moe"))
		lost += int(l.Count)
	}
	qt.Assert(t, qt.Equals(told+lost, runs+1))
	qt.Assert(t, qt.IsTrue(lost > 0))
}

// TestChosenWithout: what cannot be told is named, and nothing else suffers.
func TestChosenWithout(t *testing.T) {
	for name, c := range map[string]struct {
		mock, cuda, says string
		do               func(h *host)
	}{
		"arguments have changed": {says: "choices of experts: the arguments of _ZN4vllm3moe10topkGating", do: func(h *host) {
			h.route(changed, 0, routed{4, 8, 64, 1}, 0)
		}},
		"first in a capture": {says: "choices of experts: the first routing kernel was in a capture", do: func(h *host) {
			h.do("capture 1")
			h.route(softmax, 0, routed{4, 8, 64, 1}, 0)
			h.do("capture 0")
		}},
		"no module":  {cuda: "fail:cuModuleLoadData", says: "choices of experts: CUDA refuses the memory or the kernel"},
		"no memory":  {cuda: "fail:cuMemHostRegister_v2", says: "choices of experts: CUDA refuses the memory or the kernel"},
		"no launch":  {cuda: "fail:cuLaunchKernel", says: "choices of experts: a launch of the kernel failed"},
		"subscribed": {mock: "subscribed", says: "choices of experts: another tool has CUPTI's callbacks"},
		"contexts": {says: "choices of experts: there is more than one CUDA context", do: func(h *host) {
			h.route(softmax, 0, routed{4, 8, 64, 1}, 0)
			h.do("context 99")
			h.route(softmax, 0, routed{4, 8, 64, 1}, 0)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			h := newMoE(t, hostOptions{moe: 1, mock: c.mock, env: []string{"MOCK_CUDA=" + c.cuda}})
			if c.do != nil {
				c.do(h)
			} else {
				h.route(softmax, 0, routed{4, 8, 64, 1}, 0)
			}
			h.until("the note", func() bool { return h.state.MoENote != "" })
			qt.Assert(t, qt.IsTrue(len(h.state.MoENote) >= len(c.says) && h.state.MoENote[:len(c.says)] == c.says), qt.Commentf("%s", h.state.MoENote))
			h.do("launch 5 1234 7 5000 3 0")
			h.until("replays", func() bool { return h.count(wire.KindCUPTIReplay) == 5 })
			h.exits(fmt.Sprintf("exit %d", 0), 0)
		})
	}
}
