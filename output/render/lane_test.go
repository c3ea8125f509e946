package render

import (
	"io"
	"testing"

	"github.com/go-quicktest/qt"
)

// On each track slices lie within or behind one another, and no track is begun where
// one has room.
func TestLanes(t *testing.T) {
	for _, c := range []struct {
		name   string
		slices [][2]int64
		tracks []int
	}{
		{"one behind the other", [][2]int64{{0, 10}, {10, 20}, {25, 30}}, []int{0, 0, 0}},
		{"within", [][2]int64{{0, 10}, {2, 5}, {5, 10}, {10, 12}}, []int{0, 0, 0, 0}},
		{"overlapping", [][2]int64{{0, 10}, {5, 15}, {10, 20}, {15, 25}}, []int{0, 1, 0, 1}},
		{"three at a time", [][2]int64{{0, 10}, {1, 11}, {2, 12}, {10, 20}}, []int{0, 1, 2, 0}},
		{"no time", [][2]int64{{5, 5}, {5, 5}, {5, 8}, {8, 8}}, []int{0, 0, 0, 0}},
		{"out of order", [][2]int64{{10, 20}, {30, 40}, {15, 18}, {41, 42}}, []int{0, 0, 1, 0}},
		{"longer than what it begins with", [][2]int64{{0, 5}, {0, 10}}, []int{0, 1}},
		{"backwards", [][2]int64{{10, 5}, {10, 12}}, []int{0, 0}},
	} {
		t.Run(c.name, func(t *testing.T) {
			trace := newTrace(io.Discard, 0, Always)
			l := trace.lanes(place{0, 0, "lanes"})
			for i, s := range c.slices {
				l.slice(s[0], s[1], "test", "slice", trace.args())
				took := -1
				for n, lane := range l.lanes {
					if lane.begun == s[0] && lane.open[len(lane.open)-1] == max(s[0], s[1]) {
						took = n
						break
					}
				}
				qt.Check(t, qt.Equals(took, c.tracks[i]), qt.Commentf("slice %d", i))
			}
		})
	}
}
