package join

import "math"

// skewedClock maps times of a GPU's timer to the session's clock where readings take long: a
// kernel reads the timer some time between two readings of ours, on a busy GPU at any. So
// each reading bounds the offset between the two, and the mapping is the line, of offset
// and drift, in the middle of those that go through all of the newest readings.
type skewedClock struct {
	readings []reading
	line     line
}

// reading bounds the session's clock less the timer.
type reading struct{ gpu, lo, hi int64 }

// line is the offset at a time of the timer, and by how much it grows.
type line struct {
	gpu, offset int64
	drift       float64
	slack       int64
}

const (
	// maxSkewReadings are a minute's.
	maxSkewReadings = 64
	// maxSkew is more than two clocks drift apart.
	maxSkew = 1e-3
)

func (k *skewedClock) known() bool { return len(k.readings) > 0 }

// read takes a reading of the timer between two of the session's clock.
func (k *skewedClock) read(gpu, before, after int64) {
	r := reading{gpu, before - gpu, after - gpu}
	if n := len(k.readings); n > 0 && gpu <= k.readings[n-1].gpu {
		k.readings = k.readings[:0] // the timer was set
	}
	if len(k.readings) == maxSkewReadings {
		k.readings = append(k.readings[:0], k.readings[1:]...)
	}
	k.readings = append(k.readings, r)
	for !k.fit() { // one of the clocks was set, or its speed has changed
		k.readings = append(k.readings[:0], k.readings[(len(k.readings)+1)/2:]...)
	}
}

// fit lays the line; false: none goes through all readings.
func (k *skewedClock) fit() bool {
	least, most := -maxSkew, maxSkew
	for i, a := range k.readings {
		for _, b := range k.readings[i+1:] {
			apart := float64(b.gpu - a.gpu)
			least = max(least, float64(b.lo-a.hi)/apart)
			most = min(most, float64(b.hi-a.lo)/apart)
		}
	}
	if least > most {
		return false
	}
	if len(k.readings) == 1 {
		least, most = 0, 0
	}
	newest := k.readings[len(k.readings)-1].gpu
	lo, hi := int64(math.MaxInt64), int64(math.MinInt64)
	for i := range drifts {
		l, h := k.offsets(newest, least+(most-least)*float64(i)/(drifts-1))
		lo, hi = min(lo, l, h), max(hi, l, h) // by rounding l may lie behind h
	}
	ahead := int64((most - least) / 2 * aheadNS)
	k.line = line{newest, lo + (hi-lo)/2, (least + most) / 2, (hi-lo)/2 + ahead + 1}
	return true
}

const (
	// drifts is at how many drifts the bounds of the offset are looked at.
	drifts = 9
	// aheadNS is how far behind the newest reading times are asked for.
	aheadNS = 1e9
)

// offsets are the bounds that all readings put to the offset at a time if it grows so.
func (k *skewedClock) offsets(gpu int64, drift float64) (lo, hi int64) {
	lo, hi = math.MinInt64, math.MaxInt64
	for _, r := range k.readings {
		moved := int64(drift * float64(gpu-r.gpu))
		lo, hi = max(lo, r.lo+moved), min(hi, r.hi+moved)
	}
	return lo, hi
}

// time is a time of the timer on the session's clock.
func (k *skewedClock) time(gpu int64) int64 {
	return gpu + k.line.offset + int64(k.line.drift*float64(gpu-k.line.gpu))
}

// err is about how far a mapped time may be off.
func (k *skewedClock) err() int64 { return k.line.slack }
