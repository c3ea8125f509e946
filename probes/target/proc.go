package target

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Bounds on what is read of a process. A process may write its own command
// line, title, map names and environment, so none of them is trusted in size.
const (
	maxStat      = 4 << 10
	maxStatus    = 16 << 10
	maxCommand   = 256 << 10
	maxArgs      = 4096
	maxCgroup    = 16 << 10
	maxMaps      = 32 << 20
	maxProcesses = 1 << 18
	maxAncestors = 128
)

// Proc is a procfs mounted at Root.
type Proc struct {
	Root string
}

// Host is the procfs of this machine.
func Host() Proc { return Proc{Root: "/proc"} }

func (p Proc) path(pid int, name string) string {
	return filepath.Join(p.Root, strconv.Itoa(pid), name)
}

func (p Proc) read(pid int, name string, limit int64) ([]byte, error) {
	f, err := os.Open(p.path(pid, name))
	if err != nil {
		return nil, procError(pid, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit))
	return b, procError(pid, err)
}

// pids lists the processes there are, in ascending order.
func (p Proc) pids() ([]int, error) {
	d, err := os.Open(p.Root)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	var pids []int
	for len(pids) < maxProcesses {
		names, err := d.Readdirnames(1024)
		for _, n := range names {
			if pid, err := strconv.Atoi(n); err == nil && pid > 0 {
				pids = append(pids, pid)
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	slices.Sort(pids)
	return pids, nil
}

// stat is what /proc/PID/stat says.
type stat struct {
	comm  string
	state byte
	ppid  int
	start uint64 // clock ticks since boot
}

func (p Proc) stat(pid int) (stat, error) {
	b, err := p.read(pid, "stat", maxStat)
	if err != nil {
		return stat{}, err
	}
	s, err := parseStat(b)
	if err != nil {
		return stat{}, fmt.Errorf("process %d: %w", pid, err)
	}
	if s.state == 'Z' || s.state == 'X' {
		return stat{}, fmt.Errorf("process %d: %w", pid, ErrGone)
	}
	return s, nil
}

// parseStat reads "pid (comm) state ppid …". The comm may hold any byte, so
// its end is the last parenthesis.
func parseStat(b []byte) (stat, error) {
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 0 || end < open {
		return stat{}, fmt.Errorf("stat: %w", ErrMalformed)
	}
	f := strings.Fields(string(b[end+1:]))
	const ppid, start = 1, 19 // proc(5) counts from 3 here
	if len(f) <= start || len(f[0]) != 1 {
		return stat{}, fmt.Errorf("stat: %w", ErrMalformed)
	}
	s := stat{comm: string(b[open+1 : end]), state: f[0][0]}
	var err1, err2 error
	s.ppid, err1 = strconv.Atoi(f[ppid])
	s.start, err2 = strconv.ParseUint(f[start], 10, 64)
	if err1 != nil || err2 != nil {
		return stat{}, fmt.Errorf("stat: %w", ErrMalformed)
	}
	return s, nil
}

// command is a process's argument vector. A title written over it with
// setproctitle leaves NULs behind, which are not arguments.
func (p Proc) command(pid int) ([]string, error) {
	b, err := p.read(pid, "cmdline", maxCommand)
	if err != nil {
		return nil, err
	}
	b = bytes.TrimRight(b, "\x00")
	if len(b) == 0 {
		return nil, nil
	}
	return strings.SplitN(string(b), "\x00", maxArgs), nil
}

// status is what we use of /proc/PID/status.
type status struct {
	tgid  int
	uid   int
	nspid int // the process's number in its own PID namespace
	depth int // PID namespaces between that one and ours
}

func (p Proc) status(pid int) (status, error) {
	b, err := p.read(pid, "status", maxStatus)
	if err != nil {
		return status{}, err
	}
	s := status{tgid: pid, uid: -1, nspid: pid}
	for line := range strings.Lines(string(b)) {
		name, rest, _ := strings.Cut(line, ":")
		f := strings.Fields(rest)
		if len(f) == 0 {
			continue
		}
		switch name {
		case "Tgid":
			s.tgid = atoi(f[0], pid)
		case "Uid":
			s.uid = atoi(f[0], -1)
		case "NSpid":
			s.nspid = atoi(f[len(f)-1], pid)
			s.depth = len(f) - 1
		}
	}
	return s, nil
}

func atoi(s string, otherwise int) int {
	if n, err := strconv.Atoi(s); err == nil {
		return n
	}
	return otherwise
}

// link reads a symbolic link of a process, "" where it may not be read.
func (p Proc) link(pid int, name string) string {
	s, err := os.Readlink(p.path(pid, name))
	if err != nil {
		return ""
	}
	return s
}

// self reads a link of this very process, as the kernel resolves it.
func (p Proc) self(name string) string {
	s, err := os.Readlink(filepath.Join(p.Root, "self", name))
	if err != nil {
		return ""
	}
	return s
}
