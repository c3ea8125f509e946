package check

import "time"

// Machine is what the checks look at: this machine, or a test's.
type Machine interface {
	// Read returns a small file of /proc or /sys.
	Read(name string) ([]byte, error)
	// Exists says whether a file is there.
	Exists(name string) bool
	// Uname returns the kernel's release and the architecture as the kernel
	// names it.
	Uname() (release, arch string)
	// EUID is the effective user.
	EUID() int
	// Memlock is the limit of locked memory in bytes.
	Memlock() (uint64, error)
	// FreeSlots counts the hardware breakpoints that a thread could still
	// take, up to 4; thread 0 is one of our own.
	FreeSlots(tid int) (int, error)
	// BPF tries a feature of the kernel's BPF. ebpf.ErrNotSupported: it has none.
	BPF(Feature) error
	// Watch puts a watchpoint on our own memory, attaches a BPF program to it
	// with a cookie, writes n times and returns how often the program ran and
	// what one time took.
	Watch(n int) (hits int, each time.Duration, err error)
	// Peek reads 8 bytes of a process's memory.
	Peek(pid int) error
	// Writable says whether files can be made in a directory, made itself if
	// need be, and how much room is there.
	Writable(dir string) (freeBytes uint64, err error)
}

// Target is a process that is to be traced.
type Target struct {
	PID         int
	Threads     []int // whose breakpoint slots are needed
	OtherPIDs   bool
	OtherMounts bool
	OtherUsers  bool
	Container   string
}

// Options say what to look at.
type Options struct {
	OutputDir string // "": not looked at
	Targets   []Target
}

// Run does all checks.
func Run(m Machine, o Options) []Finding {
	all := kernelFindings(m)
	p := readPrivileges(m)
	all = append(all, p.findings(m)...)
	all = append(all, bpfFindings(m, len(Failed(all)) == 0)...)
	all = append(all, gpuFindings(m)...)
	if o.OutputDir != "" {
		all = append(all, outputFinding(m, o.OutputDir))
	}
	for _, t := range o.Targets {
		all = append(all, targetFindings(m, t)...)
	}
	return all
}
