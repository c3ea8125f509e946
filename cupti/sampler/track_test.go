package sampler

import (
	"math"
	"testing"

	"github.com/go-quicktest/qt"
)

func TestTrack(t *testing.T) {
	tr := track{intervalNS: 100}
	tr.begin(false)
	for _, c := range []struct {
		why        string
		start, end uint64
		taken      bool
		lost       uint64
	}{
		{"no trigger", 0, 0, false, 0},
		{"the first, since the set-up", 0, 1000, false, 0},
		{"", 1000, 1100, true, 0},
		{"", 1100, 1200, true, 0},
		{"two merged", 1200, 1400, true, 0},
		{"trailing", 1400, 0, false, 0},
		{"read before", 1100, 1200, false, 0},
		{"three between", 1700, 1800, true, 3},
		{"a little late", 1830, 1930, true, 3},
		{"backwards", 1930, 1920, false, 4},
		{"no start", 0, 2030, false, 5},
		{"too long", 2030, 2031 + math.MaxUint32, false, 6},
	} {
		qt.Check(t, qt.Equals(tr.take(c.start, c.end), c.taken), qt.Commentf(c.why))
		qt.Check(t, qt.Equals(tr.lost, c.lost), qt.Commentf(c.why))
	}
	qt.Check(t, qt.Equals(tr.stale, 1))

	tr = track{intervalNS: 100, lastEnd: 2000}
	tr.begin(false) // another window: nothing is lost between
	qt.Check(t, qt.IsFalse(tr.take(5000, 5100)))
	qt.Check(t, qt.IsTrue(tr.take(5100, 5200)))
	qt.Check(t, qt.Equals(tr.lost, 0))
	tr.begin(true) // broke off
	qt.Check(t, qt.IsFalse(tr.take(5500, 5600)))
	qt.Check(t, qt.IsTrue(tr.take(5600, 5700)))
	qt.Check(t, qt.Equals(tr.lost, 4))
	tr.begin(true) // and again, before a sample was taken
	tr.begin(true)
	qt.Check(t, qt.IsFalse(tr.take(5800, 5900)))
	qt.Check(t, qt.IsTrue(tr.take(5900, 6000)))
	qt.Check(t, qt.Equals(tr.lost, 6))

	tr.end(6300) // broke off at the end
	qt.Check(t, qt.Equals(tr.lost, 9))
	tr.begin(false)
	tr.begin(true) // broke off before a sample of the window was taken: the pause is not lost
	qt.Check(t, qt.IsFalse(tr.take(9000, 9100)))
	qt.Check(t, qt.IsTrue(tr.take(9100, 9200)))
	qt.Check(t, qt.Equals(tr.lost, 9))
	tr.begin(false)
	tr.end(20_000)
	qt.Check(t, qt.Equals(tr.lost, 9))
	tr.begin(false)
	tr.take(0, 9300)
	tr.take(9300, 9400)
	tr.end(9390) // the timer was read before the last sample's end
	qt.Check(t, qt.Equals(tr.lost, 9))
}
