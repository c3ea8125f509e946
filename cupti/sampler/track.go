package sampler

import "math"

// track follows the samples of a session: what lies between two of one stretch
// of sampling is lost.
type track struct {
	intervalNS uint64
	lastEnd    uint64 // of the sample taken last
	first      bool   // the next one is the first of its stretch
	joined     bool   // the next one should begin where the last one ended
	lost       uint64 // samples
	stale      uint64 // samples that were there before
}

// begin is the start of a stretch of sampling. broken: the one before broke off,
// and what is between the two is lost.
func (t *track) begin(broken bool) {
	// Of a stretch that broke off before its first sample it is not known when it began: what
	// was before is another's, and the pause between them is no loss.
	t.first, t.joined = true, broken && t.joined
}

// end is the end of a stretch that had broken off: what it had not handed on is lost.
func (t *track) end(at uint64) {
	if t.joined && at > t.lastEnd {
		t.lost += t.missed(at)
	}
	t.joined = false
}

// missed are the samples between the last one and a time after it.
func (t *track) missed(to uint64) uint64 {
	return (to - t.lastEnd + t.intervalNS/2) / t.intervalNS
}

// take says whether a sample is to be handed on. The first of a stretch is not:
// it holds everything since the counters were set up. Nor is one without times,
// which belongs to no trigger. One longer than the interval holds what was merged
// into it; nothing of that is lost.
func (t *track) take(start, end uint64) bool {
	if end == 0 {
		return false
	}
	if t.first {
		t.first = false
		return false
	}
	if start == 0 || end <= start || end-start > math.MaxUint32 {
		t.lost++
		return false
	}
	if start < t.lastEnd {
		t.stale++
		return false
	}
	if t.joined {
		t.lost += t.missed(start)
	}
	t.joined, t.lastEnd = true, end
	return true
}
