package decode_test

import (
	"encoding/binary"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/decode/wire"
)

const (
	cuptiFlush  = 200_000_000 // records come with the next flush
	cuptiPeriod = 50_000_000  // of windows, if there are any
	cuptiWindow = 10_000_000
	cuptiSwitch = 20_000
	cuptiParts  = 4 // kernels of a replay
	cuptiNames  = 10
	cuptiOther  = 4 // name of a kernel outside of graphs
	cuptiAttend = 9 // of one between two pieces
)

// partName is the name of a kernel of a graph. A layer is a b c d, and is split behind b:
// what is in front of the first layer and behind the last is in the first and last piece.
func (s *cudaSim) partName(exec uint64, i int) int {
	piece, ok := s.pieces[exec]
	switch {
	case !ok:
		return i
	case piece == 0:
		return []int{5, 6, 0, 1}[i]
	case piece == cudaPieces-1:
		return []int{2, 3, 7, 8}[i]
	}
	return []int{2, 3, 0, 1}[i]
}

// partLayer is the layer that a kernel of a piece is of; -1: of none.
func partLayer(piece, name int) int32 {
	switch name {
	case 0, 1:
		return int32(piece)
	case 2, 3:
		return int32(piece - 1)
	}
	return -1
}

// cuptiSim is what pmtrace's library tells from inside a worker, and the truth.
type cuptiSim struct {
	number  uint32
	replays []cuptiReplay
	windows map[uint64]bool
	kernels int
	outside int // kernels outside of graphs
	attends int // kernels between pieces
	leftOut int // kernels of replays at a window's edge
	copies  int
}

// cuptiReplay is a launch; told: what of it CUPTI tells.
type cuptiReplay struct {
	exec, call uint64
	start, end uint64
	told       bool
	kernels    bool
}

func (s *cudaSim) inject() {
	if s.cupti == "" {
		return
	}
	for i, w := range s.workers {
		w.inside.windows = map[uint64]bool{}
		pid := 4000
		if s.ranks > 0 {
			pid = 5000 + i
		}
		// Rings are found in any order.
		s.fact(3, record.Fact{Injected: &record.Injected{
			Ring: len(s.workers) - 1 - i, PID: pid, State: record.InjectedRunning, Calls: s.cupti == "calls", Windows: s.windows, CopiesInWindows: s.fewer,
		}})
	}
}

// ring is the index of a worker's ring.
func (w *cudaWorker) ring() int { return len(w.s.workers) - 1 - w.index }

func (w *cudaWorker) tell(kind wire.Kind, came uint64, body func(*encoder)) {
	e := &encoder{b: make([]byte, wire.HeaderSize, 96), kind: kind}
	body(e)
	binary.LittleEndian.PutUint64(e.b, came)
	binary.LittleEndian.PutUint16(e.b[12:], uint16(kind))
	e.b[14], e.b[15] = byte(w.ring()), wire.Version
	w.s.records = append(w.s.records, timed{came, simRecord{'E', e.b}})
}

// flushed is when what ends at a time is told.
func flushed(end uint64) uint64 { return (end/cuptiFlush+1)*cuptiFlush + 1000 }

// launch launches a graph.
func (w *cudaWorker) launch(st *cudaStep, phase wire.Phase, exec uint64, ns int) (began uint64) {
	th := w.stepThread()
	w.call(th, phase, wire.RowGraphLaunch, [3]uint64{exec}, 0)
	call := *w.now
	began = w.run(st, ns)
	if w.s.cupti == "" || w.unprobed() {
		return began
	}
	in := &w.inside
	end := began + uint64(ns)
	in.number += 5
	number, runtime := in.number, in.number-1
	r := cuptiReplay{exec: exec, call: call, start: began, end: end, told: true}
	edge := false // it was under way at the window's end
	into := call % cuptiPeriod
	if w.s.windows {
		w.window(call / cuptiPeriod * cuptiPeriod)
		in := into < cuptiWindow
		r.kernels = in
		r.told = into > cuptiSwitch+1000 && (into+1000 < cuptiWindow || into > cuptiWindow+cuptiSwitch)
		edge = in && r.told && end > call-into+cuptiWindow
		r.told = r.told && !edge
	}
	in.replays = append(in.replays, r)
	if w.s.cupti == "calls" {
		w.tell(wire.KindCUPTICall, call+900, func(e *encoder) {
			e.u64(call + 200).u64(call + 800).u64(exec).u64(7).u32(th).u32(int(number)).u32(int(runtime)).u32(0)
		})
	}
	came := flushed(end)
	graph := int(exec >> 6 & 0xffff)
	switch {
	case !r.told && !edge:
	case r.kernels:
		for i := range cuptiParts {
			step := uint64(ns / cuptiParts)
			from := began + uint64(i)*step
			to := from + step - 500
			if i == cuptiParts-1 {
				to = end
			}
			if edge {
				in.leftOut++
			} else {
				in.kernels++
			}
			name := w.s.partName(exec, i)
			w.tell(wire.KindCUPTIKernel, came, func(e *encoder) {
				e.u64(from).u64(to).u64(uint64(77 + name)).u32(name + 1).u32(int(number)).u32(graph).u32(0).u32(1).u32(13)
				e.u32(10).u32(1).u32(1).u16(256).u16(1).u16(1).u16(40).u32(0)
			})
		}
	default:
		w.tell(wire.KindCUPTIReplay, came, func(e *encoder) {
			e.u64(began).u64(end).u32(int(number)).u32(graph).u32(0).u32(1).u32(13).u32(0)
		})
	}
	return began
}

// window tells of the window that begins at a time, once.
func (w *cudaWorker) window(at uint64) {
	if w.inside.windows[at] {
		return
	}
	w.inside.windows[at] = true
	n := len(w.inside.windows)
	for i, from := range []uint64{at, at + cuptiWindow} {
		w.tell(wire.KindCUPTIWindow, from+cuptiSwitch, func(e *encoder) {
			e.u64(from).u64(from + cuptiSwitch).u32(n).u32(1 - i)
		})
	}
}

// outside is a kernel between a step's graph and the copy of its results: it says which
// step that is.
func (w *cudaWorker) outside(st *cudaStep, start, end uint64) {
	if w.eager(cuptiOther, int(st.num), start, end) {
		w.inside.outside++
	}
}

// attend is a kernel behind a piece: it says which.
func (w *cudaWorker) attend(piece int, start uint64) {
	if w.eager(cuptiAttend, piece, start, start+3000) {
		w.inside.attends++
	}
}

// eager is a kernel outside of graphs, if such are told of now.
func (w *cudaWorker) eager(name, grid int, start, end uint64) bool {
	if w.s.cupti == "" || w.unprobed() || !w.s.windows || start%cuptiPeriod <= cuptiSwitch || start%cuptiPeriod >= cuptiWindow {
		return false
	}
	w.inside.number += 3
	w.tell(wire.KindCUPTIKernel, flushed(end), func(e *encoder) {
		e.u64(start).u64(end).u64(0).u32(name + 1).u32(int(w.inside.number)).u32(0).u32(0).u32(1).u32(13)
		e.u32(grid).u32(1).u32(1).u16(64).u16(1).u16(1).u16(40).u32(0)
	})
	return true
}

// copied is a copy on the GPU.
func (w *cudaWorker) copied(kind int, start, end uint64) {
	if w.s.cupti == "" || w.unprobed() {
		return
	}
	w.inside.number += 3
	if into := start % cuptiPeriod; w.s.fewer && (into <= cuptiSwitch || into >= cuptiWindow) {
		return
	}
	w.inside.copies++
	w.tell(wire.KindCUPTICopy, flushed(end), func(e *encoder) {
		e.u64(start).u64(end).u64(0).u64(64).u32(int(w.inside.number)).u32(0).u32(0).u32(1).u32(14).u32(kind)
	})
}

// closeRings numbers the events as they come, and tells that no more will.
func (s *cudaSim) closeRings() {
	if s.cupti == "" {
		return
	}
	end := flushed(s.now) + 2*cuptiFlush
	for i, w := range s.workers {
		for id := range cuptiNames {
			w.tell(wire.KindCUPTIName, simStart+uint64(id), func(e *encoder) {
				e.u32(id + 1).u16(3).u16(0).u8('k').u8('_').u8('a' + id)
			})
		}
		pid := 4000
		if s.ranks > 0 {
			pid = 5000 + i
		}
		s.fact(end, record.Fact{Injected: &record.Injected{
			Ring: w.ring(), PID: pid, State: record.InjectedEnded, Calls: s.cupti == "calls", Windows: s.windows, CopiesInWindows: s.fewer,
		}})
	}
}
