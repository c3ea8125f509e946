package probes

import (
	"errors"
	"fmt"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/pmtrace/pmtrace/bpf"
)

// Watch names a hardware breakpoint's use, as the session's metadata does.
type Watch string

// The watches of an engine, in the order of their worth: a thread has four
// debug registers on x86, and others may hold some.
const (
	WatchScheduleReturn Watch = "schedule_return"
	WatchFreeBlocks     Watch = "free_blocks"
	WatchUpdateReturn   Watch = "update_return"
	WatchUpdateEntry    Watch = "update_entry"
)

// The programs on CUDA calls, in Tracer.Cost.
const (
	WatchCallEntry  Watch = "call_entry"
	WatchCallReturn Watch = "call_return"
)

// ErrNoSlot says that all of a thread's debug registers are taken.
var ErrNoSlot = errors.New("all hardware breakpoints of the thread are taken")

// breakpoint is one watch in force: closing it takes it off.
type breakpoint struct {
	points []point
}

// point is a breakpoint of a thread, or of one CPU.
type point struct {
	event int
	link  int
}

// scope is where a breakpoint is set: on a thread, or on CPUs, whatever they run.
//
// A thread's debug registers are set as it is switched to and cleared as it is switched
// from. In a virtual machine both are exits to the hypervisor, 8 to 10 µs together, and an
// engine's thread may wait several times a step. Those of a CPU stay as they are; there
// the programs look at the thread themselves.
type scope struct {
	thread int
	cpus   []int // nil: the thread
}

const (
	bpReadWrite = 3 // HW_BREAKPOINT_RW
	bpWrite     = 2 // HW_BREAKPOINT_W

	bpfLinkCreate    = 28
	bpfAttachPerf    = 41 // BPF_PERF_EVENT
	breakpointEvents = 5  // PERF_TYPE_BREAKPOINT
)

// watch runs prog each time the memory at addr is touched there. The program finds
// cookie as its attach cookie.
func watch(where scope, addr uint64, size uint64, access uint32, prog *ebpf.Program, cookie uint64) (*breakpoint, error) {
	attr := unix.PerfEventAttr{
		Type:    breakpointEvents,
		Size:    uint32(unsafe.Sizeof(unix.PerfEventAttr{})),
		Sample:  1,
		Bp_type: access,
		Ext1:    addr,
		Ext2:    size,
		Bits:    unix.PerfBitDisabled | unix.PerfBitExcludeKernel | unix.PerfBitExcludeHv,
	}
	b := &breakpoint{}
	if where.cpus == nil {
		return b, b.add(&attr, where.thread, -1, prog, cookie)
	}
	for _, cpu := range where.cpus {
		if err := b.add(&attr, -1, cpu, prog, cookie); err != nil {
			return nil, errors.Join(err, b.close())
		}
	}
	return b, nil
}

func (b *breakpoint) add(attr *unix.PerfEventAttr, thread, cpu int, prog *ebpf.Program, cookie uint64) error {
	fd, err := unix.PerfEventOpen(attr, thread, cpu, -1, unix.PERF_FLAG_FD_CLOEXEC)
	if err != nil {
		if errors.Is(err, unix.ENOSPC) {
			return ErrNoSlot
		}
		return fmt.Errorf("perf_event_open for a hardware breakpoint: %w", err)
	}
	link, err := linkPerf(prog, fd, cookie)
	if err != nil {
		unix.Close(fd)
		return fmt.Errorf("attach a BPF program to a hardware breakpoint: %w", err)
	}
	if err := unix.IoctlSetInt(fd, unix.PERF_EVENT_IOC_ENABLE, 0); err != nil {
		unix.Close(link)
		unix.Close(fd)
		return fmt.Errorf("enable a hardware breakpoint: %w", err)
	}
	b.points = append(b.points, point{event: fd, link: link})
	return nil
}

func (b *breakpoint) close() error {
	var errs []error
	for _, p := range b.points {
		errs = append(errs, unix.Close(p.link), unix.Close(p.event))
	}
	b.points = nil
	return errors.Join(errs...)
}

// linkPerf is BPF_LINK_CREATE for a perf event with a cookie (Linux 5.15),
// which cilium/ebpf does only for its own uprobes and tracepoints.
func linkPerf(prog *ebpf.Program, event int, cookie uint64) (int, error) {
	attr := struct {
		prog, target uint32
		attach       uint32
		flags        uint32
		cookie       uint64
	}{uint32(prog.FD()), uint32(event), bpfAttachPerf, 0, cookie}
	fd, _, errno := unix.Syscall(unix.SYS_BPF, bpfLinkCreate, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	if errno != 0 {
		return -1, errno
	}
	unix.CloseOnExec(int(fd))
	return int(fd), nil
}

// plan is what one watch of an engine needs.
type plan struct {
	name   Watch
	probe  bpf.SchedulerPmProbe
	addr   uint64
	size   uint64
	access uint32
	prog   *ebpf.Program
}

// plans lists an engine's watches, most worth first.
func plans(c *bpf.SchedulerPmEngine, p *bpf.SchedulerPrograms) []plan {
	return []plan{
		{WatchScheduleReturn, bpf.SchedulerPmProbePM_PROBE_SCHEDULE_RETURN, c.ScheduleReturn, 1, bpReadWrite, p.ScheduleReturn},
		{WatchFreeBlocks, bpf.SchedulerPmProbePM_PROBE_FREE_BLOCKS, c.Counter, 8, bpWrite, p.FreeBlocks},
		{WatchUpdateReturn, bpf.SchedulerPmProbePM_PROBE_UPDATE_RETURN, c.UpdateReturn, 1, bpReadWrite, p.UpdateReturn},
		{WatchUpdateEntry, bpf.SchedulerPmProbePM_PROBE_UPDATE_ENTRY, c.UpdateResume, 1, bpReadWrite, p.UpdateEntry},
	}
}
