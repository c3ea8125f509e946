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
	t.first, t.joined = true, broken && t.lastEnd != 0
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
		t.lost += (start - t.lastEnd + t.intervalNS/2) / t.intervalNS
	}
	t.joined, t.lastEnd = true, end
	return true
}
