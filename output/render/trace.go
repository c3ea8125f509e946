package render

import (
	"bufio"
	"io"

	"google.golang.org/protobuf/encoding/protowire"
)

// trace writes packets of one sequence, whose words are interned. The first error
// is kept in err, and nothing is written after it.
type trace struct {
	w      *bufio.Writer
	err    error
	zero   int64 // CLOCK_MONOTONIC at the session's beginning
	window Window
	end    int64 // of the last step

	categories, names, argNames, texts *dictionary

	tracks uint64 // described so far; the newest one's uuid
	groups map[place]track
	rows   map[place]*lanes
	lines  map[place]*line

	next                 args
	entry, event, packet message // reused
}

func newTrace(w io.Writer, zero int64, window Window) *trace {
	t := &trace{
		w: bufio.NewWriterSize(w, 64<<10), zero: zero, window: window,
		categories: newDictionary(internedCategories), names: newDictionary(internedNames),
		argNames: newDictionary(internedArgs), texts: newDictionary(internedTexts),
		groups: map[place]track{}, rows: map[place]*lanes{}, lines: map[place]*line{},
	}
	t.next.trace = t
	return t
}

// begin says which clock the times are of, and what the wall clock showed then.
func (t *trace) begin(wall int64) {
	clock := func(id uint64, ns int64) message {
		return message(nil).uint(clockID, id).uint(clockTimestamp, uint64(ns))
	}
	snapshot := message(nil).
		message(snapshotClock, clock(clockMonotonic, t.zero)).
		message(snapshotClock, clock(clockRealtime, wall)).
		uint(snapshotPrimaryClock, clockMonotonic)
	t.write(t.head(sequenceCleared).
		message(packetClockSnapshot, snapshot).
		message(packetDefaults, message(nil).uint(defaultsClock, clockMonotonic)))
}

// head begins a packet.
func (t *trace) head(flags uint64) message {
	return t.packet[:0].uint(packetSequence, 1).uint(packetSequenceFlags, flags)
}

func (t *trace) write(packet message) {
	t.packet = packet
	if t.err != nil {
		return
	}
	var head [16]byte
	b := protowire.AppendTag(head[:0], tracePacket, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(len(packet)))
	if _, t.err = t.w.Write(b); t.err == nil {
		_, t.err = t.w.Write(packet)
	}
}

// emit writes an event at a time of the session.
func (t *trace) emit(ns int64, event message) {
	packet := t.head(sequenceNeeds).uint(packetTimestamp, uint64(max(t.zero+ns, 0)))
	packet = t.interned(packet)
	t.event = event
	t.write(packet.message(packetEvent, event))
}

// interned adds the words that are new.
func (t *trace) interned(packet message) message {
	t.entry = t.entry[:0]
	for _, d := range []*dictionary{t.categories, t.names, t.argNames, t.texts} {
		t.entry = append(t.entry, d.fresh...)
		d.fresh = d.fresh[:0]
	}
	if len(t.entry) == 0 {
		return packet
	}
	return packet.message(packetInterned, t.entry)
}

func (t *trace) begins(kind uint64, on track) message {
	return t.event[:0].uint(eventType, kind).uint(eventTrack, uint64(on))
}

func (t *trace) named(kind uint64, on track, category, name string, a *args) message {
	event := t.begins(kind, on).
		uint(eventCategory, t.categories.number(category)).
		uint(eventName, t.names.number(name))
	return append(event, a.bytes...)
}

func (t *trace) slice(on track, from, to int64, category, name string, a *args) {
	t.emit(from, t.named(sliceBegin, on, category, name, a))
	t.emit(to, t.begins(sliceEnd, on))
}

func (t *trace) instant(on track, at int64, category, name string, a *args) {
	t.emit(at, t.named(instant, on, category, name, a))
}

func (t *trace) close() error {
	if t.err == nil {
		t.err = t.w.Flush()
	}
	return t.err
}
