package join

import (
	"math"
	"slices"
)

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
		w.readings = slices.Delete(w.readings, 0, 1)
	}
	w.readings = append(w.readings, wallReading{mono, wall - mono})
}

// known reports whether there is a reading.
func (w *wallClock) known() bool { return len(w.readings) > 0 }

// mono is the moment at which the wall clock showed wall, which was before latest: by the
// reading that held then, or nearly, for the clock drifts from one to the next. Where it was
// set back it showed the same twice: then the later one. Within the second until a step was
// noticed it may be off by it.
func (w *wallClock) mono(wall, latest int64) (best int64) {
	const never = math.MaxInt64
	least, next := int64(never), int64(never)
	for i := len(w.readings) - 1; i >= 0 && least > 0; i-- {
		r := w.readings[i]
		at, missed := wall-r.ahead, int64(0) // by how much it is out of the reading's time
		switch {
		case at-wallSlack > latest:
			missed = never
		case i > 0 && at < r.at:
			missed = r.at - at
		case at >= next:
			missed = at - next + 1
		}
		if missed < least || i == len(w.readings)-1 {
			best, least = at, missed
		}
		next = r.at
	}
	return best
}
