package join

// wallClock tells when moments of the wall clock were on CLOCK_MONOTONIC. The wall clock
// may drift, and may be set: what was told before that, and has its row after it, must not
// move by the step.
type wallClock struct{ readings []wallReading }

// wallReading is how far the wall clock was ahead from then on, until the next one.
type wallReading struct{ at, ahead int64 }

// maxWallReadings is more than a day of them: there is one each ten minutes.
const maxWallReadings = 256

// wallSlack is half of the least step that is noticed as such: by less the clock may have
// drifted since the reading.
const wallSlack = 500_000_000

func (w *wallClock) read(mono, wall int64) {
	if len(w.readings) == maxWallReadings {
		w.readings = append(w.readings[:0], w.readings[1:]...)
	}
	w.readings = append(w.readings, wallReading{mono, wall - mono})
}

// known reports whether there is a reading.
func (w *wallClock) known() bool { return len(w.readings) > 0 }

// mono is the moment at which the wall clock showed wall, which was before latest. Where it was
// set back it showed the same twice: then the later one. Within the second until a step was
// noticed it may be off by it.
func (w *wallClock) mono(wall, latest int64) int64 {
	const unsure, unknown = 1, 2
	best, found := int64(0), unknown+1
	next := int64(1<<63 - 1)
	for i := len(w.readings) - 1; i >= 0 && found > 0; i-- {
		r := w.readings[i]
		at, fits := wall-r.ahead, unknown
		switch {
		case at-wallSlack > latest:
		case at >= next || i > 0 && at < r.at:
			fits = unsure // the clock was ahead by something else then
		default:
			fits = 0
		}
		if fits < found {
			best, found = at, fits
		}
		next = r.at
	}
	return best
}
