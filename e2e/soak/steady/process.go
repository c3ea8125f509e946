package steady

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Memory is a process's resident memory in bytes.
type Memory struct {
	Anon int64 `json:"anon"`
	File int64 `json:"file"` // pages of files: the program itself, for the most part
}

// Process is what a process has at a time.
type Process struct {
	Memory
	CPU     float64 `json:"cpu_s"`
	Files   int     `json:"fds"`
	Threads int     `json:"threads"`
}

// Look reads /proc/PID; "self" is the caller's own.
func Look(pid string) (Process, error) {
	dir := "/proc/" + pid
	status, err := os.ReadFile(dir + "/status")
	if err != nil {
		return Process{}, err
	}
	fds, err := os.ReadDir(dir + "/fd")
	if err != nil {
		return Process{}, err
	}
	cpu, err := cpuOf(pid)
	p := Process{CPU: cpu.Seconds(), Files: len(fds), Threads: int(field(status, "Threads:"))}
	p.Anon, p.File = field(status, "RssAnon:")<<10, field(status, "RssFile:")<<10
	return p, err
}

func field(status []byte, name string) int64 {
	for line := range bytes.Lines(status) {
		if rest, ok := bytes.CutPrefix(line, []byte(name)); ok {
			n, _ := strconv.ParseInt(string(bytes.Fields(rest)[0]), 10, 64)
			return n
		}
	}
	return 0
}

// cpuOf is what a process has had of the processors, exact to the nanosecond.
func cpuOf(pid string) (time.Duration, error) {
	clock := int32(unix.CLOCK_PROCESS_CPUTIME_ID)
	if n, err := strconv.Atoi(pid); err == nil {
		clock = int32(^n<<3 | 2) // clock_getcpuclockid
	}
	var t unix.Timespec
	if err := unix.ClockGettime(clock, &t); err != nil {
		return 0, fmt.Errorf("processor time of process %s: %w", pid, err)
	}
	return time.Duration(t.Nano()), nil
}

// Group is the memory and processor time of all processes of a group.
func Group(leader int) (Process, error) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return Process{}, err
	}
	var sum Process
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			continue
		}
		if group, err := unix.Getpgid(pid); err != nil || group != leader {
			continue
		}
		p, err := Look(filepath.Base(dir))
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			continue // it has ended
		}
		if err != nil {
			return sum, err
		}
		sum.Anon += p.Anon
		sum.File += p.File
		sum.CPU += p.CPU
		sum.Files += p.Files
		sum.Threads += p.Threads
	}
	return sum, nil
}

// Disk is the bytes that a directory's files take, and how many there are. A file that
// gets its name, or is removed, meanwhile is counted or not.
func Disk(dir string) (size int64, files int, err error) {
	err = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return gone(err)
		}
		info, err := e.Info()
		if err != nil {
			return gone(err)
		}
		size += info.Size()
		files++
		return nil
	})
	return size, files, err
}

func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
