package decode_test

import (
	"encoding/binary"

	"github.com/pmtrace/pmtrace/decode/wire"
)

// moeConfig is a model with experts.
type moeConfig struct {
	layers  []int32 // that have experts; nil: the model has none
	experts int
	topK    int
	told    int     // experts, as the events say
	wide    bool    // ids of 2 bytes
	weights int     // every so many runs have weights; 0: none
	lost    float64 // of the runs
	burst   int     // every so many runs as many as a pass and a half are lost; 0: never
	dummies bool    // passes of no step
	known   []int32 // layers, as the engine's fact has them; nil: all, unless they are hidden
	hidden  bool
	// The workers' readings have the layers, and come before it is known whose workers they are.
	inWorker bool
	drafts   int    // tokens of a draft model
	idle     int    // passes of no step meanwhile
	pause    uint64 // after 40 steps each the server is idle for so long
}

const (
	moeChunk = 2000 // bytes of ids in an event
	moeClock = 500_000_000
	moeFlush = 3_000_000
)

// moeSim is a worker's routing kernels.
type moeSim struct {
	ordinal uint32
	run     uint32
	graphs  map[string]uint32 // first ordinal, by descriptor
	runs    []*moeRun
	dummies int
}

// moeRun is a run of a routing kernel, and what it chose.
type moeRun struct {
	step    *cudaStep // nil: of none
	number  uint32
	layer   int32
	rows    int
	ids     [][]uint16
	weights [][]uint16 // nil where there are none
	lost    bool
}

// gpuTime is a clock that runs away from the host's by 7 µs a second.
func gpuTime(t uint64) uint64 { return 1<<59 + t + (t-simStart)/150_000 }

// forward is a step's pass through the model.
func (w *cudaWorker) forward(st *cudaStep, from, to uint64) {
	if len(w.s.moe.layers) == 0 {
		return
	}
	m := &w.routing
	rows, first := st.padded, m.ordinal
	if st.mode == "NONE" {
		rows += w.s.rng.IntN(8)
		m.ordinal += uint32(len(w.s.moe.layers))
	} else {
		first = m.captured(st.text, len(w.s.moe.layers))
	}
	w.pass(st, rows, first, from, to, false)
}

// captured is the first ordinal of a graph.
func (m *moeSim) captured(text string, layers int) uint32 {
	if m.graphs == nil {
		m.graphs = map[string]uint32{}
	}
	first, ok := m.graphs[text]
	if !ok {
		first = m.ordinal
		m.graphs[text] = first
		m.ordinal += uint32(layers)
	}
	return first
}

// between is what happens before a step.
func (s *cudaSim) between(i, flying int) {
	if s.moe.pause > 0 && i%40 == 39 {
		for range s.moe.idle {
			s.now += s.moe.pause / uint64(s.moe.idle)
			for _, w := range s.workers {
				w.free = max(w.free, s.now)
				w.dummy(1, false)
			}
		}
		if s.moe.idle == 0 {
			s.now += s.moe.pause
		}
	}
	if !s.moe.dummies || flying > 0 {
		return
	}
	n := s.rng.IntN(12) / 11
	if i == 0 {
		n = 3
	}
	for range n {
		s.now += 400_000
		for _, w := range s.workers {
			*w.now = max(*w.now, s.now)
			w.dummy(cudaSizes[s.rng.IntN(len(cudaSizes))], i == 0)
		}
		s.now += 400_000
	}
}

// dummy is a pass of no step.
func (w *cudaWorker) dummy(rows int, early bool) {
	from := w.run(nil, w.s.gpuNS)
	first := w.routing.ordinal
	w.routing.ordinal += uint32(len(w.s.moe.layers))
	w.routing.dummies++
	w.pass(nil, rows, first, from, from+uint64(w.s.gpuNS), early)
}

// pass is a forward pass between two times. early: it is told before anything is known.
func (w *cudaWorker) pass(st *cudaStep, rows int, ordinal uint32, from, to uint64, early bool) {
	m, c := &w.routing, &w.s.moe
	for i, layer := range c.layers {
		r := &moeRun{step: st, number: m.run, layer: layer, rows: rows}
		m.run++
		for range rows {
			r.ids = append(r.ids, w.choose())
		}
		if c.weights > 0 && int(r.number)%c.weights == 0 {
			for range rows {
				row := make([]uint16, c.topK)
				for k := range row {
					row[k] = 0x2c00 + uint16(w.s.rng.IntN(0x1000))
				}
				r.weights = append(r.weights, row)
			}
		}
		r.lost = c.lost > 0 && w.s.rng.Float64() < c.lost || c.burst > 0 && int(r.number)%c.burst < len(c.layers)*3/2
		m.runs = append(m.runs, r)
		if !r.lost {
			at := from + (to-from)*uint64(i+1)/uint64(len(c.layers)+1)
			w.tellRun(r, ordinal+uint32(i), at, early)
		}
	}
}

// choose gives a token's experts; a few are none.
func (w *cudaWorker) choose() []uint16 {
	c := &w.s.moe
	ids := make([]uint16, 0, c.topK)
	for len(ids) < c.topK {
		id := uint16(w.s.rng.IntN(c.experts) * w.s.rng.IntN(c.experts) / c.experts)
		if w.s.rng.IntN(200) == 0 {
			id = 0xffff
		}
		if id == 0xffff || !contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

func contains(ids []uint16, id uint16) bool {
	for _, other := range ids {
		if other == id {
			return true
		}
	}
	return false
}

// tellRun tells of a run, in as many events as it takes.
func (w *cudaWorker) tellRun(r *moeRun, ordinal uint32, at uint64, early bool) {
	c := &w.s.moe
	size := 1
	if c.wide {
		size = 2
	}
	for first := 0; first < r.rows; {
		n := min(r.rows-first, moeChunk/size/c.topK)
		flags := 0
		if len(r.weights) > 0 {
			if first/(moeChunk/size/c.topK)%2 == int(r.number)%2 {
				flags = wire.CUPTIMoEWeights
			} else {
				clear(r.weights[first : first+n])
			}
		}
		w.tell(wire.KindCUPTIMoE, (at/moeFlush+1)*moeFlush, func(e *encoder) {
			e.u64(gpuTime(at)).u32(int(ordinal)).u32(int(r.number)).u32(r.rows).u32(first)
			e.u16(n).u8(c.topK).u8(size).u16(c.told).u16(flags)
			for _, row := range r.ids[first : first+n] {
				for _, id := range row {
					if e.u8(int(byte(id))); c.wide {
						e.u8(int(id >> 8))
					}
				}
			}
			if flags != 0 {
				for _, row := range r.weights[first : first+n] {
					for _, weight := range row {
						e.u16(int(weight))
					}
				}
			}
		})
		if early {
			w.s.records[len(w.s.records)-1].at = 0
		}
		first += n
	}
}

// readClocks reads the GPUs' clocks, which often takes long.
func (s *cudaSim) readClocks() {
	if len(s.moe.layers) == 0 {
		return
	}
	for _, w := range s.workers {
		for at := uint64(simStart); at < s.now+moeClock; at += moeClock {
			before, after := uint64(2000), uint64(2000)
			if at/moeClock%4 > 0 {
				before, after = 180_000, 40_000
			}
			w.tell(wire.KindCUPTIClock, at+after, func(e *encoder) { e.u64(at - before).u64(gpuTime(at)).u64(at + after) })
		}
	}
}

// dropRouting loses a part of the events of routing kernels on the way, and the runs
// that have one of them.
func (s *cudaSim) dropRouting(journal []simRecord, every int) (kept []simRecord) {
	n := 0
	for _, r := range journal {
		if r.kind == 'E' && wire.Kind(binary.LittleEndian.Uint16(r.payload[12:])) == wire.KindCUPTIMoE {
			if n++; n%every == 0 {
				run := binary.LittleEndian.Uint32(r.payload[28:])
				for _, w := range s.workers {
					if w.ring() == int(r.payload[14]) {
						w.routing.runs[run].lost = true
					}
				}
				continue
			}
		}
		kept = append(kept, r)
	}
	return kept
}
