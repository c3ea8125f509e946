package join

import (
	"encoding/binary"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/decode/wire"
)

// maxRouted bounds the bytes of ids of a step.
const maxRouted = 64 << 20

// buffered is the experts that vLLM itself copied to the host of the tokens of a step, which
// come before the begin of its update, in one event or several.
type buffered struct {
	open  bool
	head  wire.Routed // of the first event, without ids
	ids   []byte
	whole bool
}

// Routed takes a step's routed experts, or a part of them.
func (j *Joiner) Routed(ev *wire.Routed) error {
	e, t := j.enter(&ev.Header)
	e.closeCall()
	e.closeUpdate()
	e.flushOps(t, nil)
	b := &e.buffered
	if !b.open || ev.First == 0 {
		*b = buffered{open: true, head: *ev, ids: b.ids[:0]}
		b.head.IDs = nil
	}
	b.add(ev)
	return j.err
}

// add takes the ids of an event, if they are the next.
func (b *buffered) add(ev *wire.Routed) {
	h := &b.head
	size := h.Size()
	if ev.State != wire.RoutedSent {
		h.State = ev.State
		return
	}
	if ev.Output != h.Output || ev.Update != h.Update || ev.Size() != size || size > maxRouted || int64(ev.First) != int64(len(b.ids)) {
		b.whole = false
		return
	}
	b.ids = append(b.ids, ev.IDs...)
	b.whole = int64(len(b.ids)) == size && size > 0
}

// chose counts what the tokens of a step chose, as its update begins. What the kernel has not
// counted as lost is counted here.
func (e *engine) chose(st *step, ev *wire.Update) {
	b := &e.buffered
	defer func() { *b = buffered{ids: b.ids[:0]} }()
	if e.fact.RoutedExperts == "" || st.tokens <= 0 {
		return
	}
	st.chosen = true
	layers := len(e.routed)
	switch {
	case b.open && (b.head.Output != ev.Output || b.head.Update != ev.Update), !b.open:
		e.unrouted(st, layers, "step_without_choices")
	case b.head.State == wire.RoutedNone:
		e.unrouted(st, layers, "step_without_choices")
	case b.head.State != wire.RoutedSent:
		e.j.stats.MoE.MissingLayers += int64(layers) // the kernel counts them
	case !b.whole:
		e.unrouted(st, layers, "step_in_pieces")
	case int64(b.head.Rows) != int64(st.tokens):
		e.unrouted(st, layers, "other_number_of_tokens")
	case layers == 0:
		e.unrouted(st, 1, layersUnknown)
	default:
		e.experts.buffer(st, b)
	}
}

// unrouted takes note of a step of whose layers nothing is known. A gap in the events is
// counted by itself.
func (e *engine) unrouted(st *step, layers int, why string) {
	e.j.stats.MoE.MissingLayers += int64(layers)
	if !st.gap {
		e.j.losses.add(lossKey{e.id, "moe", why}, st.scheduled, st.scheduled, int64(layers))
	}
}

// unupdated takes note of a step that ends without its update, or whose update was not seen.
func (e *engine) unupdated(st *step) {
	if e.fact.RoutedExperts != "" && st.tokens > 0 && !st.chosen {
		e.j.stats.MoE.MissingLayers += int64(len(e.routed))
	}
}

// buffer counts what the tokens of a step chose, by vLLM's own buffer of all layers.
func (b *expertBook) buffer(st *step, r *buffered) {
	b.begin(st.scheduled)
	b.layered()
	h := &r.head
	k, width := int(h.TopK), int(h.Bytes)
	row := int(h.Layers) * k * width
	var ids [wire.MaxTopK]uint16
	for n := range b.layers {
		l := &b.layers[n]
		if l.layer < 0 || int(l.layer) >= int(h.Layers) {
			b.e.unrouted(st, 1, layersUnknown)
			continue
		}
		l.experts = max(l.experts, min(b.e.fact.Experts, maxExperts))
		l.counts(int64(st.num), int64(h.Rows), h.TopK)
		at := int(l.layer) * k * width
		for range h.Rows {
			for i := range k {
				ids[i] = wideID(r.ids[at+i*width:], width)
			}
			b.count(l, ids[:k])
			at += row
		}
	}
	b.e.j.stats.MoE.Passes++
}

// wideID is an id of so many bytes; noExpert: it is no expert's.
func wideID(b []byte, width int) uint16 {
	var v uint64
	switch width {
	case 1:
		v = uint64(b[0])
	case 2:
		v = uint64(binary.LittleEndian.Uint16(b))
	case 4:
		v = uint64(binary.LittleEndian.Uint32(b))
	default:
		v = binary.LittleEndian.Uint64(b)
	}
	if v >= noExpert {
		return noExpert
	}
	return uint16(v)
}

// source is where the counts of an engine's experts come from.
func (e *engine) source() string {
	if e.fact.RoutedExperts != "" {
		return record.ExpertsFromBuffers
	}
	return record.ExpertsFromKernels
}
