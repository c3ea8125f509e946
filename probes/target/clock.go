package target

import "golang.org/x/sys/unix"

// ticksPerSecond is USER_HZ, the unit of times in /proc: 100 on every
// architecture that pmtrace is built for.
const ticksPerSecond = 100

// clockPair is CLOCK_BOOTTIME and CLOCK_MONOTONIC read together: /proc counts
// from boot with suspension, pmtrace without.
type clockPair struct{ bootNS, monoNS int64 }

func clocks() clockPair {
	var boot, mono unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot) != nil ||
		unix.ClockGettime(unix.CLOCK_MONOTONIC, &mono) != nil {
		return clockPair{}
	}
	return clockPair{bootNS: boot.Nano(), monoNS: mono.Nano()}
}

func (c clockPair) monotonic(ticks uint64) int64 {
	return int64(ticks)*(1e9/ticksPerSecond) - (c.bootNS - c.monoNS)
}
