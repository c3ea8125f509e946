package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// cpuTime is what a process has had of the processors, exact to the nanosecond.
func cpuTime(pid int) (time.Duration, error) {
	var t unix.Timespec
	// The clock of another process's time (clock_getcpuclockid).
	if err := unix.ClockGettime(int32(^pid<<3|2), &t); err != nil {
		return 0, fmt.Errorf("processor time of process %d: %w", pid, err)
	}
	return time.Duration(t.Nano()), nil
}

// ticks are a process's time outside of the kernel and in it, in hundredths of a second.
func ticks(pid int) (user, system float64, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, err
	}
	f := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	user, _ = strconv.ParseFloat(string(f[11]), 64)
	system, _ = strconv.ParseFloat(string(f[12]), 64)
	return user, system, nil
}

// anonymous is a process's anonymous memory in bytes.
func anonymous(pid int) (float64, error) { return memory(pid, "RssAnon:") }

// peakRSS is the most memory that a process has had, in bytes: its files' pages as well.
func peakRSS(pid int) (float64, error) { return memory(pid, "VmHWM:") }

func memory(pid int, field string) (float64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(b) {
		if rest, ok := bytes.CutPrefix(line, []byte(field)); ok {
			kb, err := strconv.ParseFloat(string(bytes.Fields(rest)[0]), 64)
			return kb * 1024, err
		}
	}
	return 0, fmt.Errorf("no %s of process %d", field, pid)
}
