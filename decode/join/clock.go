package join

import (
	"math"
	"sort"
)

// gpuClock maps times of a GPU's timer to the session's clock.
type gpuClock struct{ readings []clock }

// clock is a reading of the GPU's timer.
type clock struct{ gpu, at, err int64 }

// read takes a reading between two of the session's clock.
func (k *gpuClock) read(gpu, before, after int64) {
	c := clock{gpu: gpu, at: before + (after-before)/2, err: (after - before + 1) / 2}
	if n := len(k.readings); n > 0 && (c.gpu <= k.readings[n-1].gpu || c.at <= k.readings[n-1].at) {
		k.readings = k.readings[:0] // the timer was set
	}
	if len(k.readings) == maxClocks {
		k.readings = append(k.readings[:0], k.readings[1:]...)
	}
	k.readings = append(k.readings, c)
}

// known reports whether there is a reading.
func (k *gpuClock) known() bool { return len(k.readings) > 0 }

// slopeOverNS is how far readings must lie apart to tell the timer's drift: a
// reading is off by some µs, the drift is some µs a second.
const slopeOverNS = 500_000_000

// time is a time of the GPU's timer on the session's clock: between two readings
// on the line through them, behind the last along the drift so far.
func (k *gpuClock) time(gpu int64) int64 {
	n := len(k.readings)
	i := sort.Search(n, func(i int) bool { return k.readings[i].gpu >= gpu })
	if i > 0 && i < n {
		a, b := k.readings[i-1], k.readings[i]
		return a.at + int64(float64(gpu-a.gpu)*float64(b.at-a.at)/float64(b.gpu-a.gpu))
	}
	c := k.readings[0]
	if i == n {
		c = k.readings[n-1]
	}
	return c.at + int64(float64(gpu-c.gpu)*k.slope(i == n))
}

// slope is the session's clock against the GPU's timer, at the end or the
// beginning of the readings; 1 where it cannot be told, or is no drift of clocks.
func (k *gpuClock) slope(end bool) float64 {
	n := len(k.readings)
	for i := 1; i < n; i++ {
		a, b := k.readings[0], k.readings[i]
		if end {
			a, b = k.readings[n-1-i], k.readings[n-1]
		}
		if b.at-a.at >= slopeOverNS {
			s := float64(b.at-a.at) / float64(b.gpu-a.gpu)
			if math.Abs(s-1) > 1e-3 {
				return 1
			}
			return s
		}
	}
	return 1
}

// err is how far a mapped time may be off.
func (k *gpuClock) err() int64 { return k.readings[len(k.readings)-1].err }
