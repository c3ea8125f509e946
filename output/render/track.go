package render

import "slices"

// track is the uuid of one; 0: none, the root.
type track uint64

// place is where something stands in the UI's tree: below what, in which order
// among its siblings, and how it is called there.
type place struct {
	parent track
	rank   int
	name   string
}

// describe makes a track. Of two siblings of one name the UI shows one.
func (t *trace) describe(p place, more func(message) message) track {
	t.tracks++
	d := message(nil).uint(trackUUID, t.tracks).text(trackName, p.name).uint(trackOrdering, orderExplicit).uint(trackRank, uint64(p.rank))
	if p.parent != 0 {
		d = d.uint(trackParent, uint64(p.parent))
	}
	if more != nil {
		d = more(d)
	}
	t.write(t.head(sequenceNeeds).message(packetTrackDescriptor, d))
	return track(t.tracks)
}

// group is a track that others stand below.
func (t *trace) group(p place) track {
	g, ok := t.groups[p]
	if !ok {
		g = t.describe(p, nil)
		t.groups[p] = g
	}
	return g
}

// single is a track that the UI puts together with no other, as lanes are.
func (t *trace) single(p place) track {
	return t.describe(p, func(d message) message { return d.uint(trackMerging, mergeNever) })
}

// line is a counter. It is written where it changes.
type line struct {
	trace *trace
	track track
	value float64
	known bool
}

func (t *trace) line(p place, unit string) *line {
	l, ok := t.lines[p]
	if !ok {
		l = &line{trace: t, track: t.describe(p, func(d message) message {
			return d.message(trackCounter, message(nil).text(counterUnit, unit))
		})}
		t.lines[p] = l
	}
	return l
}

func (l *line) set(at int64, value float64) {
	if l.known && l.value == value || !l.trace.window.overlaps(at, at) {
		return
	}
	l.value, l.known = value, true
	l.trace.emit(at, l.trace.begins(counter, l.track).double(eventDouble, value))
}

// lanes are tracks that the UI shows as one. Slices on one track must lie within
// or behind one another; the next track takes those that do not.
type lanes struct {
	trace *trace
	place place
	lanes []lane
}

type lane struct {
	track track
	begun int64   // of the newest slice
	open  []int64 // ends of the slices that it lies in, and its own
}

func (t *trace) lanes(p place) *lanes {
	l, ok := t.rows[p]
	if !ok {
		l = &lanes{trace: t, place: p}
		t.rows[p] = l
	}
	return l
}

func (l *lanes) slice(from, to int64, category, name string, a *args) {
	to = max(to, from)
	i := slices.IndexFunc(l.lanes, func(lane lane) bool { return lane.takes(from, to) })
	if i < 0 {
		i = len(l.lanes)
		l.lanes = append(l.lanes, lane{track: l.trace.describe(l.place, nil), begun: from})
	}
	l.lanes[i].take(from, to)
	l.trace.slice(l.lanes[i].track, from, to, category, name, a)
}

func (l *lane) takes(from, to int64) bool {
	if from < l.begun {
		return false
	}
	for i := len(l.open) - 1; i >= 0; i-- {
		if l.open[i] > from {
			return to <= l.open[i]
		}
	}
	return true
}

func (l *lane) take(from, to int64) {
	for n := len(l.open); n > 0 && l.open[n-1] <= from; n-- {
		l.open = l.open[:n-1]
	}
	l.begun, l.open = from, append(l.open, to)
}
