package decode_test

import (
	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/decode/wire"
)

// bufferConfig is a server that copies its routed experts to the host.
type bufferConfig struct {
	layers  []int32 // with experts
	hidden  int     // layers, all
	experts int
	topK    int
	width   int // bytes of an id
	piece   int // bytes of ids in an event
	fails   int // one of so many steps has no ids; 0: none
	strange int // one of so many steps has an id of no expert
}

// bufferSim tells what each step's tokens chose, and counts it.
type bufferSim struct {
	bufferConfig
	chosen map[[2]int32]int64
	pairs  map[[3]int32]int64
	states map[wire.RoutedState]int // steps that were not told
	other  int64                    // ids of no expert
}

func newBufferSim(c bufferConfig) *bufferSim {
	return &bufferSim{bufferConfig: c, chosen: map[[2]int32]int64{}, pairs: map[[3]int32]int64{}, states: map[wire.RoutedState]int{}}
}

// fact is what is known of the engine besides.
func (b *bufferSim) fact(e *record.Engine) {
	e.MoELayers, e.Experts, e.RoutedExperts = b.layers, b.experts, "model_runner_output"
}

// tell sends the ids of a step before its update begins.
func (b *bufferSim) tell(s *sim, st *simStep, begin uint64) {
	rows := int(st.row.Tokens)
	if rows == 0 || b.fails > 0 && s.rng.IntN(b.fails) == 0 {
		state := wire.RoutedNone
		if rows > 0 {
			state += wire.RoutedState(s.rng.IntN(int(wire.RoutedFault) + 1 - int(wire.RoutedNone)))
			b.states[state]++
		}
		b.send(s, st, begin, state, 0, 0, nil)
		return
	}
	ids := b.choose(s, st, rows)
	for first := 0; first < len(ids); first += b.piece {
		b.send(s, st, begin, wire.RoutedSent, rows, first, ids[first:min(first+b.piece, len(ids))])
	}
}

func (b *bufferSim) send(s *sim, st *simStep, begin uint64, state wire.RoutedState, rows, first int, ids []byte) {
	e := s.begin(wire.KindRouted)
	e.u64(st.output).u32(int(s.update)).u32(rows).u16(b.hidden)
	e.b = append(e.b, byte(b.topK), byte(b.width), byte(state), 0, 0, 0)
	e.u32(first).u32(len(ids))
	e.b = append(e.b, ids...)
	s.sendAt(e, begin)
}

// choose draws the ids of a step; layers without experts have none, and zeros for them.
func (b *bufferSim) choose(s *sim, st *simStep, rows int) []byte {
	ids := make([]byte, rows*b.hidden*b.topK*b.width)
	strange := b.strange > 0 && s.rng.IntN(b.strange) == 0
	for row := range rows {
		for _, layer := range b.layers {
			token := s.rng.Perm(b.experts)[:b.topK]
			if strange && row == 0 {
				token[0] = 1<<(8*b.width) - 1
				b.other++
			}
			at := ((row*b.hidden + int(layer)) * b.topK) * b.width
			for i, id := range token {
				for n := range b.width {
					ids[at+i*b.width+n] = byte(id >> (8 * n))
				}
				if st.seen && id < b.experts {
					b.count(layer, token, i)
				}
			}
		}
	}
	return ids
}

func (b *bufferSim) count(layer int32, token []int, i int) {
	b.chosen[[2]int32{layer, int32(token[i])}]++
	for _, other := range token[:i] {
		if other < b.experts {
			b.pairs[[3]int32{layer, int32(min(token[i], other)), int32(max(token[i], other))}]++
		}
	}
}
