package wire_test

import (
	"testing"

	"github.com/pmtrace/pmtrace/decode/wire"
)

// FuzzCalls: no bytes make the reading of calls panic.
func FuzzCalls(f *testing.F) {
	f.Add(make([]byte, wire.CallSize))
	f.Add(make([]byte, wire.WorkerStepSize))
	f.Fuzz(func(_ *testing.T, b []byte) {
		var h wire.Header
		if h.Read(b) != nil {
			return
		}
		var c wire.Call
		_ = c.Read(h, b)
		var p wire.PhaseChange
		_ = p.Read(h, b)
		var w wire.WorkerStep
		_ = w.Read(h, b)
	})
}

// FuzzHook: no bytes make the reading of a hook's calls panic.
func FuzzHook(f *testing.F) {
	f.Add(make([]byte, wire.HookSize))
	full := make([]byte, wire.HookSize+8*8)
	full[48] = 8
	f.Add(full)
	f.Fuzz(func(_ *testing.T, b []byte) {
		var h wire.Header
		if h.Read(b) != nil {
			return
		}
		var k wire.Hook
		_ = k.Read(h, b)
	})
}

// FuzzCounters: what is read of a batch of samples is what it holds.
func FuzzCounters(f *testing.F) {
	f.Add(wire.AppendCounters(nil, 1, 2, []uint64{3, 4}, []uint32{5, 6}, [][]float32{{7, 8}, {9, 10}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := wire.ReadCounters(b)
		if err != nil {
			return
		}
		var ends []uint64
		var lengths []uint32
		values := make([][]float32, c.Metrics)
		for i := range c.Samples {
			ends, lengths = append(ends, c.End(i)), append(lengths, c.Length(i))
			for m := range values {
				values[m] = append(values[m], c.Value(m, i))
			}
		}
		if again := wire.AppendCounters(nil, c.GPU, c.Lost, ends, lengths, values); len(again) != len(b) {
			t.Fatalf("%d bytes of %d", len(again), len(b))
		}
	})
}

// FuzzCUPTI: no bytes make the reading of CUPTI's events panic.
func FuzzCUPTI(f *testing.F) {
	for _, n := range []int{wire.CUPTICallSize, wire.CUPTIReplaySize, wire.CUPTIKernelSize, wire.CUPTICopySize, wire.CUPTINameSize, wire.CUPTIWindowSize, wire.CUPTIClockSize} {
		f.Add(make([]byte, n))
	}
	moe := make([]byte, wire.CUPTIMoESize+3*2*3)
	moe[32], moe[40], moe[42], moe[43], moe[46] = 3, 3, 2, 1, wire.CUPTIMoEWeights
	f.Add(moe)
	f.Fuzz(func(_ *testing.T, b []byte) {
		var h wire.Header
		if h.Read(b) != nil {
			return
		}
		var m wire.CUPTIMoE
		if m.Read(h, b) == nil {
			for row := range int(m.Count) {
				for k := range int(m.TopK) {
					_ = m.ID(row, k)
					if m.Weights != nil {
						_ = m.Weight(row, k)
					}
				}
			}
		}
		_ = (&wire.CUPTIClock{}).Read(h, b)
		_ = (&wire.CUPTICall{}).Read(h, b)
		_ = (&wire.CUPTIReplay{}).Read(h, b)
		_ = (&wire.CUPTIKernel{}).Read(h, b)
		_ = (&wire.CUPTICopy{}).Read(h, b)
		_ = (&wire.CUPTIName{}).Read(h, b)
		_ = (&wire.CUPTIWindow{}).Read(h, b)
	})
}
