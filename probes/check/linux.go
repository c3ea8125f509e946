package check

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"structs"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"
	"golang.org/x/sys/unix"
)

// Linux is this machine.
type Linux struct{}

const maxFile = 64 << 10

func (Linux) Read(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxFile))
}

func (Linux) Exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

func (Linux) Uname() (release, arch string) {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return "", ""
	}
	return unix.ByteSliceToString(u.Release[:]), unix.ByteSliceToString(u.Machine[:])
}

func (Linux) EUID() int { return os.Geteuid() }

func (Linux) Memlock() (uint64, error) {
	var r unix.Rlimit
	err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &r)
	return r.Cur, err
}

func (Linux) BPF(f Feature) error {
	switch f {
	case PerfEventProgram:
		return features.HaveProgramType(ebpf.PerfEvent)
	case RingBuffer:
		return features.HaveMapType(ebpf.RingBuf)
	case AttachCookie:
		return features.HaveProgramHelper(ebpf.PerfEvent, asm.FnGetAttachCookie)
	case Loop:
		return features.HaveProgramHelper(ebpf.PerfEvent, asm.FnLoop)
	case LoopByMap:
		return features.HaveProgramHelper(ebpf.PerfEvent, asm.FnForEachMapElem)
	case UprobeMulti:
		return features.HaveBPFLinkUprobeMulti()
	}
	return fmt.Errorf("no feature of BPF: %d", f)
}

// openWatch opens a watchpoint on 8 bytes at addr of a thread. Programs refused
// by the kernel say so here already: slots are given out at opening.
func openWatch(tid int, addr uintptr) (int, error) {
	const (
		typeBreakpoint = 5 // PERF_TYPE_BREAKPOINT
		write          = 2 // HW_BREAKPOINT_W
	)
	attr := unix.PerfEventAttr{
		Type: typeBreakpoint, Size: uint32(unsafe.Sizeof(unix.PerfEventAttr{})),
		Sample: 1, Bp_type: write, Ext1: uint64(addr), Ext2: 8,
		Bits: unix.PerfBitExcludeKernel | unix.PerfBitExcludeHv | unix.PerfBitDisabled,
	}
	fd, err := unix.PerfEventOpen(&attr, tid, -1, -1, unix.PERF_FLAG_FD_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("perf_event_open: %w", err)
	}
	return fd, nil
}

func (Linux) FreeSlots(tid int) (int, error) {
	if tid == 0 {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
	}
	var fds []int
	defer func() {
		for _, fd := range fds {
			unix.Close(fd)
		}
	}()
	for len(fds) < wantSlots {
		// Disabled, and at an address where no process has anything.
		fd, err := openWatch(tid, uintptr(4096+8*len(fds)))
		if errors.Is(err, unix.ENOSPC) {
			break
		}
		if err != nil {
			return 0, err
		}
		fds = append(fds, fd)
	}
	return len(fds), nil
}

// count is the trial map's value.
type count struct {
	_      structs.HostLayout
	Hits   uint64
	Cookie uint64
}

const trialCookie = 0x706d74 // "pmt"

// trialProgram counts its runs and keeps the cookie it was attached with.
func trialProgram(m *ebpf.Map) *ebpf.ProgramSpec {
	return &ebpf.ProgramSpec{
		Name: "pmtrace_trial", Type: ebpf.PerfEvent, License: "GPL",
		Instructions: asm.Instructions{
			asm.FnGetAttachCookie.Call(),
			asm.Mov.Reg(asm.R7, asm.R0),
			asm.StoreImm(asm.RFP, -4, 0, asm.Word),
			asm.Mov.Reg(asm.R2, asm.RFP),
			asm.Add.Imm(asm.R2, -4),
			asm.LoadMapPtr(asm.R1, m.FD()),
			asm.FnMapLookupElem.Call(),
			asm.JEq.Imm(asm.R0, 0, "out"),
			asm.Mov.Imm(asm.R1, 1),
			asm.AddAtomic.Mem(asm.R0, asm.R1, asm.DWord, 0),
			asm.StoreMem(asm.R0, 8, asm.R7, asm.DWord),
			asm.Mov.Imm(asm.R0, 0).WithSymbol("out"),
			asm.Return(),
		},
	}
}

func (Linux) Watch(n int) (hits int, each time.Duration, err error) {
	counts, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 16, MaxEntries: 1})
	if err != nil {
		return 0, 0, err
	}
	defer counts.Close()
	prog, err := ebpf.NewProgram(trialProgram(counts))
	if err != nil {
		return 0, 0, err
	}
	defer prog.Close()
	took, err := watchSelf(prog, n)
	if err != nil {
		return 0, 0, err
	}
	var c count
	if err := counts.Lookup(uint32(0), &c); err != nil {
		return 0, 0, err
	}
	if c.Hits > 0 && c.Cookie != trialCookie {
		return 0, 0, fmt.Errorf("the program got cookie %#x", c.Cookie)
	}
	return int(c.Hits), took / time.Duration(n), nil
}

// watchSelf writes to a watched word, and returns what that took.
func watchSelf(prog *ebpf.Program, n int) (time.Duration, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	word := new(atomic.Uint64)
	fd, err := openWatch(0, uintptr(unsafe.Pointer(word)))
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	link, err := perfLink(prog.FD(), fd)
	if err != nil {
		return 0, err
	}
	defer unix.Close(link)
	if err := unix.IoctlSetInt(fd, unix.PERF_EVENT_IOC_ENABLE, 0); err != nil {
		return 0, err
	}
	began := time.Now()
	for i := range n {
		word.Store(uint64(i))
	}
	took := time.Since(began)
	err = unix.IoctlSetInt(fd, unix.PERF_EVENT_IOC_DISABLE, 0)
	runtime.KeepAlive(word)
	return took, err
}

// perfLink is BPF_LINK_CREATE for a perf event with a cookie, which the library
// has for its own events only.
func perfLink(prog, event int) (int, error) {
	const (
		linkCreate = 28
		perfEvent  = 41 // BPF_PERF_EVENT
	)
	attr := struct {
		_                         structs.HostLayout
		prog, target, kind, flags uint32
		cookie                    uint64
	}{prog: uint32(prog), target: uint32(event), kind: perfEvent, cookie: trialCookie}
	fd, _, errno := unix.Syscall(unix.SYS_BPF, linkCreate, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	if errno != 0 {
		return -1, fmt.Errorf("bpf_link on a perf event: %w", errno)
	}
	return int(fd), nil
}

// Peek reads the beginning of the executable's mapping.
func (l Linux) Peek(pid int) error {
	f, err := os.Open(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return err
	}
	defer f.Close()
	var from, to uint64
	if _, err := fmt.Fscanf(f, "%x-%x", &from, &to); err != nil {
		return fmt.Errorf("/proc/%d/maps: %w", pid, err)
	}
	buf := make([]byte, 8)
	local := []unix.Iovec{{Base: &buf[0], Len: 8}}
	remote := []unix.RemoteIovec{{Base: uintptr(from), Len: 8}}
	if _, err := unix.ProcessVMReadv(pid, local, remote, 0); err != nil {
		return fmt.Errorf("process_vm_readv: %w", err)
	}
	return nil
}

func (Linux) Writable(dir string) (uint64, error) {
	exists, err := nearest(dir)
	if err != nil {
		return 0, err
	}
	if err := unix.Access(exists, unix.W_OK|unix.X_OK); err != nil {
		return 0, fmt.Errorf("%s: %w", exists, err)
	}
	var s unix.Statfs_t
	if err := unix.Statfs(exists, &s); err != nil {
		return 0, fmt.Errorf("%s: %w", exists, err)
	}
	return s.Bavail * uint64(s.Bsize), nil
}

// nearest is the directory itself, or the one above it in which it would be
// made.
func nearest(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	for err == nil {
		var fi os.FileInfo
		fi, err = os.Stat(dir)
		switch {
		case err == nil && !fi.IsDir():
			return "", fmt.Errorf("%s is not a directory", dir)
		case err == nil:
			return dir, nil
		case !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.ENOTDIR) || dir == "/":
			return "", err
		}
		dir, err = filepath.Dir(dir), nil
	}
	return "", err
}
