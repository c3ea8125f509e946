package page

// grid is a row of buckets of equal length in time. It never has more than most of them:
// when time goes on beyond the last one, each two become one of twice the length.
type grid[T any] struct {
	origin  int64 // ns; what was before counts as there
	width   int64 // ns
	most    int
	merge   func(into, from *T)
	buckets []T
}

// finest is the length that buckets begin with.
const finest = 1 << 20 // ns: about a millisecond

func newGrid[T any](origin int64, most int, merge func(into, from *T)) *grid[T] {
	return &grid[T]{origin: origin, width: finest, most: most, merge: merge}
}

// at is the bucket of a time.
func (g *grid[T]) at(ns int64) *T {
	since := max(ns-g.origin, 0)
	for since/g.width >= int64(g.most) {
		g.double()
	}
	i := int(since / g.width)
	if missing := i + 1 - len(g.buckets); missing > 0 {
		g.buckets = append(g.buckets, make([]T, missing)...)
	}
	return &g.buckets[i]
}

func (g *grid[T]) double() {
	g.width *= 2
	half := (len(g.buckets) + 1) / 2
	for i := range half {
		b := g.buckets[2*i]
		if 2*i+1 < len(g.buckets) {
			g.merge(&b, &g.buckets[2*i+1])
		}
		g.buckets[i] = b
	}
	clear(g.buckets[half:])
	g.buckets = g.buckets[:half]
}

// horizon is how far from its origin a stretch of time may reach: no session lasts
// longer, and times add up.
const horizon = 1 << 61

// spread hands each bucket its part of a stretch of time.
func (g *grid[T]) spread(from, to int64, add func(b *T, ns int64)) {
	from, to = max(from, g.origin), min(to, g.origin+horizon)
	if from >= to {
		return
	}
	g.at(to - 1) // from here on the length stays
	for from < to {
		end := g.origin + ((from-g.origin)/g.width+1)*g.width
		add(g.at(from), min(end, to)-from)
		from = end
	}
}
