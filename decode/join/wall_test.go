package join

import (
	"math"
	"testing"

	"github.com/go-quicktest/qt"
)

func TestWallClock(t *testing.T) {
	const s, epoch = 1_000_000_000, 1_700_000_000_000_000_000
	for name, c := range map[string]struct {
		step   int64 // at 100 s, noticed a second later
		wall   int64 // less the epoch
		latest int64
		want   int64
	}{
		"never set":                           {0, 150 * s, math.MaxInt64, 150 * s},
		"before the session":                  {0, -5 * s, math.MaxInt64, -5 * s},
		"set forward, before":                 {3 * s, 50 * s, math.MaxInt64, 50 * s},
		"set forward, just before":            {3 * s, 99 * s, math.MaxInt64, 99 * s},
		"set forward, not noticed":            {3 * s, 103*s + s/2, math.MaxInt64, 100*s + s/2},
		"set forward, after":                  {3 * s, 160 * s, math.MaxInt64, 157 * s},
		"set back, before":                    {-3 * s, 50 * s, math.MaxInt64, 50 * s},
		"set back, after":                     {-3 * s, 160 * s, math.MaxInt64, 163 * s},
		"set back, just before, scheduled":    {-3 * s, 99 * s, 100 * s, 99 * s},
		"set back, later by a drift":          {-3 * s, 160 * s, 163*s - 1000, 163 * s},
		"set back, twice the same":            {-3 * s, 99 * s, math.MaxInt64, 102 * s},
		"later than it can be by any reading": {0, 150 * s, 149 * s, 150 * s},
	} {
		t.Run(name, func(t *testing.T) {
			var w wallClock
			w.read(0, epoch)
			if c.step != 0 {
				w.read(101*s, epoch+101*s+c.step)
			}
			qt.Assert(t, qt.Equals(w.mono(epoch+c.wall, c.latest), c.want))
		})
	}
}

func TestWallClockForgets(t *testing.T) {
	var w wallClock
	qt.Assert(t, qt.IsFalse(w.known()))
	for i := range int64(3 * maxWallReadings) {
		w.read(i*1000, i*1001) // it gains
	}
	qt.Assert(t, qt.HasLen(w.readings, maxWallReadings))
	last := int64(3*maxWallReadings - 1)
	qt.Assert(t, qt.Equals(w.mono(last*1001, math.MaxInt64), last*1000))
	qt.Assert(t, qt.Equals(w.mono((last-100)*1001, math.MaxInt64), (last-100)*1000))
}

// Between two readings the clock runs away; by the next one it would have come before that,
// by the last one after.
func TestWallClockDrifts(t *testing.T) {
	const minute = 60_000_000_000
	wall := func(mono int64) int64 { return 5*mono/4 + 1000*minute } // gains much
	var w wallClock
	for i := range int64(30) {
		at := 10 * i * minute
		if i == 20 {
			w.read(at, wall(at)-500*minute) // set
			continue
		}
		w.read(at, wall(at))
	}
	for at := int64(0); at < 180*minute; at += minute / 7 {
		off := w.mono(wall(at), math.MaxInt64) - at
		qt.Assert(t, qt.IsTrue(max(off, -off) <= 5*minute/2), qt.Commentf("at %d: off by %d", at, off))
	}
}
