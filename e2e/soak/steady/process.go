package steady

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/pmtrace/pmtrace/e2e/process"
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

// Look is at a process.
func Look(pid int) (Process, error) {
	status, err := process.ReadStatus(pid)
	if err != nil {
		return Process{}, err
	}
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return Process{}, err
	}
	cpu, err := process.CPU(pid)
	anon, _ := status.Number("RssAnon")
	file, _ := status.Number("RssFile")
	threads, _ := status.Number("Threads")
	return Process{Memory: Memory{Anon: anon << 10, File: file << 10}, CPU: cpu.Seconds(), Files: len(fds), Threads: int(threads)}, err
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
		p, err := Look(pid)
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
