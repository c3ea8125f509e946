package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"

	"github.com/pmtrace/pmtrace/e2e/process"
)

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
func anonymous(pid int) (float64, error) { return memory(pid, "RssAnon") }

// peakRSS is the most memory that a process has had, in bytes: its files' pages as well.
func peakRSS(pid int) (float64, error) { return memory(pid, "VmHWM") }

func memory(pid int, line string) (float64, error) {
	status, err := process.ReadStatus(pid)
	if err != nil {
		return 0, err
	}
	kib, ok := status.Number(line)
	if !ok {
		return 0, fmt.Errorf("no %s of process %d", line, pid)
	}
	return float64(kib) * 1024, nil
}
