package probes

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"syscall"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"
	"golang.org/x/sys/unix"

	"github.com/pmtrace/pmtrace/bpf"
	"github.com/pmtrace/pmtrace/decode/wire"
)

// MaxWorkers is how many processes' CUDA calls one tracer follows.
const MaxWorkers = 64

// Calls says which calls into CUDA and NCCL are probed in AttachWorker's
// processes. Each hit costs the calling thread about 2 µs.
type Calls struct {
	// Sets of rows; nil means LeanSets.
	Sets []Set
	// Record are rows that are recorded one by one, where they would only be
	// counted. They are probed whatever Sets has.
	Record []wire.Row
	// Windowed sets are probed between OpenWindow and CloseWindow alone, but for rows in
	// Record.
	Windowed []Set
	// Plain probes by perf events, one each, as kernels before 6.6 need it. Then
	// every process on the machine that uses the same file hits the probes.
	Plain bool
}

func (c Calls) wants(r Row) bool {
	sets := c.Sets
	if sets == nil {
		sets = LeanSets()
	}
	return slices.Contains(sets, r.Set) || slices.Contains(c.Record, r.Row)
}

// windowed says whether a row is probed in windows alone.
func (c Calls) windowed(r Row) bool {
	return slices.Contains(c.Windowed, r.Set) && !slices.Contains(c.Record, r.Row)
}

// returns says whether a row's return is probed.
func (c Calls) returns(r Row) bool {
	return r.Returns && (!r.OnlyRecorded || slices.Contains(c.Record, r.Row))
}

// mask is Record as struct pm_worker has it.
func (c Calls) mask() uint32 {
	var m uint32
	for _, r := range c.Record {
		m |= 1 << r
	}
	return m
}

// programs are the ones on calls, in the kernel since the first worker.
type programs struct {
	maps  bpf.CudaMaps
	multi bpf.CudaPrograms // nil programs: not loaded
	plain bpf.CudaPrograms
	spec  *ebpf.CollectionSpec
}

// loadCalls loads the programs, which write to the ring of t.
func (t *Tracer) loadCalls() (*programs, error) {
	spec, err := bpf.LoadCuda()
	if err != nil {
		return nil, err
	}
	if err := configureCalls(spec); err != nil {
		return nil, err
	}
	spec.Maps["events"].MaxEntries = uint32(t.opts.RingBytes)
	p := &programs{spec: spec}
	err = spec.LoadAndAssign(&p.maps, &ebpf.CollectionOptions{MapReplacements: map[string]*ebpf.Map{"events": t.objs.Events}})
	if err != nil {
		return nil, fmt.Errorf("make the maps of the BPF programs on CUDA calls: %w", err)
	}
	if t.opts.Calls.Plain || features.HaveBPFLinkUprobeMulti() != nil {
		err = p.loadPlain()
	} else {
		err = p.load(&p.multi)
	}
	if err != nil {
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}

// configureCalls sets what the programs must know before they are verified.
func configureCalls(spec *ebpf.CollectionSpec) error {
	if err := bpf.ConfigureLoops(spec); err != nil {
		return err
	}
	if runtime.GOARCH == "arm64" {
		if err := spec.Variables["machine"].Set(uint32(bpf.CudaPmMachinePM_ARM64)); err != nil {
			return err
		}
	}
	return configureIDs(spec)
}

// configureIDs tells the programs of which PID namespace our ids are.
func configureIDs(spec *ebpf.CollectionSpec) error {
	device, inode, err := pidNamespace("self")
	if err != nil || inode == firstNamespace {
		return err
	}
	if err := spec.Variables["namespace_device"].Set(device); err != nil {
		return err
	}
	return spec.Variables["namespace_inode"].Set(inode)
}

// firstNamespace is the inode of the machine's own PID namespace (PROC_PID_INIT_INO).
const firstNamespace = 0xEFFFFFFC

// pidNamespace identifies the PID namespace of a process.
func pidNamespace(pid string) (device, inode uint64, err error) {
	var st unix.Stat_t
	name := "/proc/" + pid + "/ns/pid"
	if err := unix.Stat(name, &st); err != nil {
		return 0, 0, fmt.Errorf("PID namespace: %s: %w", name, err)
	}
	return st.Dev, st.Ino, nil
}

// load loads the two programs; all maps are there already.
func (p *programs) load(into *bpf.CudaPrograms) error {
	with := map[string]*ebpf.Map{
		"blank": p.maps.Blank, "call_losses": p.maps.CallLosses,
		"classes": p.maps.Classes, "codes": p.maps.Codes, "events": p.maps.Events,
		"progress": p.maps.Progress, "states": p.maps.States, "threads": p.maps.Threads, "turns": p.maps.Turns, "workers": p.maps.Workers,
	}
	if err := p.spec.LoadAndAssign(into, &ebpf.CollectionOptions{MapReplacements: with}); err != nil {
		return fmt.Errorf("load the BPF programs on CUDA calls: %w", err)
	}
	return nil
}

// loadPlain loads them as what perf events take.
func (p *programs) loadPlain() error {
	if p.plain.CallEntry != nil {
		return nil
	}
	for _, s := range p.spec.Programs {
		s.AttachType = ebpf.AttachNone
	}
	return p.load(&p.plain)
}

// loaded are the programs that there are, with the names that Cost gives them.
func (p *programs) loaded() map[Watch][]*ebpf.Program {
	out := map[Watch][]*ebpf.Program{}
	for _, set := range []bpf.CudaPrograms{p.multi, p.plain} {
		if set.CallEntry != nil {
			out[WatchCallEntry] = append(out[WatchCallEntry], set.CallEntry)
			out[WatchCallReturn] = append(out[WatchCallReturn], set.CallReturn)
		}
	}
	return out
}

func (p *programs) close() error {
	var errs []error
	for _, set := range []bpf.CudaPrograms{p.multi, p.plain} {
		if set.CallEntry != nil {
			errs = append(errs, set.Close())
		}
	}
	return errors.Join(append(errs, p.maps.Close())...)
}

// isGone says that an error is of a process that has ended.
func isGone(err error) bool {
	return errors.Is(err, syscall.ESRCH) || errors.Is(err, os.ErrNotExist)
}
