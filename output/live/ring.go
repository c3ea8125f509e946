package live

// maxSamples bounds a ring: at more than 6,553 steps/s ten seconds are cut short.
const maxSamples = 1 << 16

// ring keeps the newest samples.
type ring[T timed] struct {
	list []T
	head int   // of those that are kept
	cut  int64 // time of the newest that was dropped for want of room
}

type timed interface{ time() int64 }

// push adds a sample and lets go of those from before a time.
func (r *ring[T]) push(v T, before int64) {
	r.list = append(r.list, v)
	for r.head < len(r.list) && r.list[r.head].time() < before {
		r.drop()
	}
	if len(r.list)-r.head > maxSamples {
		r.cut = max(r.cut, r.list[r.head].time())
		r.drop()
	}
	if r.head > 1024 && r.head > len(r.list)/2 {
		n := copy(r.list, r.list[r.head:])
		clear(r.list[n:])
		r.list, r.head = r.list[:n], 0
	}
}

func (r *ring[T]) drop() {
	var none T
	r.list[r.head] = none
	r.head++
}

func (r *ring[T]) kept() []T { return r.list[r.head:] }

// tickNS is how finely times of what is only counted are kept.
const tickNS = 100_000_000

// ticks counts by time.
type ticks struct {
	counts map[int64]int64
	total  int64
}

func (t *ticks) add(at, n, before int64) {
	if t.counts == nil {
		t.counts = map[int64]int64{}
	}
	t.total += n
	if t.counts[at/tickNS] += n; t.counts[at/tickNS] == n { // a new one: see whether others are old
		for tick := range t.counts {
			if tick < before/tickNS {
				delete(t.counts, tick)
			}
		}
	}
}

// between counts what happened after one time up to another.
func (t *ticks) between(from, to int64) (n int64) {
	for tick, count := range t.counts {
		if at := tick * tickNS; at > from-tickNS && at <= to {
			n += count
		}
	}
	return n
}
