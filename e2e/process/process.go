// Package process reads what a process takes.
package process

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// CPU is what a process has had of the processors, exact to the nanosecond.
func CPU(pid int) (time.Duration, error) {
	var t unix.Timespec
	// The clock of another process's time (clock_getcpuclockid).
	if err := unix.ClockGettime(int32(^pid<<3|2), &t); err != nil {
		return 0, fmt.Errorf("processor time of process %d: %w", pid, err)
	}
	return time.Duration(t.Nano()), nil
}

// Status is /proc/PID/status.
type Status []byte

// ReadStatus reads it.
func ReadStatus(pid int) (Status, error) { return os.ReadFile(fmt.Sprintf("/proc/%d/status", pid)) }

// Number is a line's number: of memory it is in KiB. One that has ended, or the kernel's
// own, has no lines about memory.
func (s Status) Number(name string) (n int64, ok bool) {
	for line := range bytes.Lines(s) {
		if rest, found := bytes.CutPrefix(line, []byte(name+":")); found {
			n, err := strconv.ParseInt(string(bytes.Fields(rest)[0]), 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}
