package probes

import (
	"errors"
	"fmt"
	"slices"
	"syscall"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/pmtrace/pmtrace/bpf"
	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/probes/cuda"
)

// callProbe is one place of a library that is probed.
type callProbe struct {
	at      uint64 // in the file
	cookie  uint64
	returns bool
	row     string
}

// attachedLibrary is a library of one process with its probes.
type attachedLibrary struct {
	library cuda.Library
	rows    []string // with at least one function
	missing []Row    // with none
	static  bool     // probed in place of a libcudart inside a program
	links   []link.Link
	window  *libraryWindow // nil: all is probed always
}

func (a *attachedLibrary) close() error {
	err := closeAll(a.links)
	a.links = nil
	if a.window != nil {
		err = errors.Join(err, a.window.close(), a.window.file.Close())
		a.window = nil
	}
	return err
}

// libraryWindow are a library's probes that are set in windows alone.
type libraryWindow struct {
	file   *cuda.Functions
	probes []callProbe
	links  []link.Link // none: it is closed
}

func (w *libraryWindow) close() error {
	err := closeAll(w.links)
	w.links = nil
	return err
}

// rowsFor are the wanted rows of a library.
func rowsFor(c Calls, kind cuda.Kind, static bool) []Row {
	return slices.DeleteFunc(Rows(), func(r Row) bool {
		return r.Library != kind || !c.wants(r) || r.Static && !static
	})
}

// probeLibrary sets the probes of a process on one of its libraries.
func (t *Tracer) probeLibrary(pid int, lib cuda.Library, static bool) (*attachedLibrary, error) {
	rows := rowsFor(t.opts.Calls, lib.Kind, static)
	wanted := map[string]bool{}
	for _, r := range rows {
		for _, f := range r.Functions {
			for _, n := range f.Names {
				wanted[n] = true
			}
		}
	}
	a := &attachedLibrary{library: lib, static: static}
	functions, err := lib.Open(func(name string) bool { return wanted[name] })
	if err != nil {
		return nil, err
	}
	var probes, windowed []callProbe
	for _, r := range rows {
		found := places(t.opts.Calls, r, functions, slices.Concat(probes, windowed))
		if t.opts.Calls.windowed(r) {
			windowed = append(windowed, found...)
		} else {
			probes = append(probes, found...)
		}
		if len(found) > 0 {
			a.rows = append(a.rows, r.Name)
		} else {
			a.missing = append(a.missing, r)
		}
	}
	if len(probes) > 0 {
		a.links, err = t.setProbes(pid, functions.Path(), probes)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", lib.Path, err), functions.Close())
	}
	if len(windowed) == 0 {
		return a, functions.Close()
	}
	a.window = &libraryWindow{file: functions, probes: windowed}
	return a, nil
}

// places finds a row's functions. Two names of one function are one place.
func places(c Calls, r Row, functions *cuda.Functions, before []callProbe) []callProbe {
	var out []callProbe
	for _, f := range r.Functions {
		for _, n := range f.Names {
			for _, at := range functions.Offsets(n) {
				same := func(p callProbe) bool { return p.at == at }
				if slices.ContainsFunc(before, same) || slices.ContainsFunc(out, same) {
					continue
				}
				returns := c.returns(r)
				out = append(out, callProbe{at: at, cookie: cookie(r, f, returns), returns: returns, row: r.Name})
			}
		}
	}
	return out
}

// setProbes attaches the programs: in one go where the kernel can. Returns come
// first, so that no call is awaited whose return is not seen.
func (t *Tracer) setProbes(pid int, path string, probes []callProbe) ([]link.Link, error) {
	file, err := link.OpenExecutable(path)
	if err != nil {
		return nil, err
	}
	returns := slices.DeleteFunc(slices.Clone(probes), func(p callProbe) bool { return !p.returns })
	if t.calls.plain.CallEntry == nil {
		if !filtersProcesses(file, t.calls.multi.CallEntry, probes[0].at) {
			pid = 0 // the programs look at the process themselves
		}
		links, err := setMulti(file, pid, pairOf(&t.calls.multi), probes, returns)
		if err == nil || isGone(err) {
			return links, err
		}
		t.opts.Log.Warn("uprobe_multi is refused; plain uprobes are set", "err", err)
		if err := t.calls.loadPlain(); err != nil {
			return nil, err
		}
	}
	return setPlain(file, pairOf(&t.calls.plain), probes, returns)
}

// filtersProcesses tells kernels that compare the process from those (6.6 to 6.9,
// before "bpf: fix multi-uprobe PID filtering logic") that run the programs on its
// first thread only: the change made a negative id invalid.
func filtersProcesses(file *link.Executable, prog *ebpf.Program, at uint64) bool {
	l, err := file.UprobeMulti(nil, prog, &link.UprobeMultiOptions{PID: 1 << 31, Addresses: []uint64{at}})
	if err == nil {
		l.Close()
	}
	return errors.Is(err, syscall.EINVAL)
}

// functionPrograms is the program on functions' entries, and the one on their returns.
type functionPrograms struct{ entry, returns *ebpf.Program }

func pairOf(p *bpf.CudaPrograms) functionPrograms { return functionPrograms{p.CallEntry, p.CallReturn} }

func setMulti(file *link.Executable, pid int, p functionPrograms, entries, returns []callProbe) ([]link.Link, error) {
	var links []link.Link
	set := func(probes []callProbe, attach func([]string, *ebpf.Program, *link.UprobeMultiOptions) (link.Link, error), prog *ebpf.Program) error {
		if len(probes) == 0 {
			return nil
		}
		opts := &link.UprobeMultiOptions{PID: uint32(pid)}
		for _, c := range probes {
			opts.Addresses = append(opts.Addresses, c.at)
			opts.Cookies = append(opts.Cookies, c.cookie)
		}
		l, err := attach(nil, prog, opts)
		if err == nil {
			links = append(links, l)
		}
		return err
	}
	err := set(returns, file.UretprobeMulti, p.returns)
	if err == nil {
		err = set(entries, file.UprobeMulti, p.entry)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("attach to %d functions: %w", len(entries), err), closeAll(links))
	}
	slices.Reverse(links) // entries are taken off first
	return links, nil
}

func setPlain(file *link.Executable, p functionPrograms, entries, returns []callProbe) ([]link.Link, error) {
	var links []link.Link
	set := func(probes []callProbe, attach func(string, *ebpf.Program, *link.UprobeOptions) (link.Link, error), prog *ebpf.Program) error {
		for _, c := range probes {
			l, err := attach("", prog, &link.UprobeOptions{Address: c.at, Cookie: c.cookie})
			if err != nil {
				return fmt.Errorf("attach to %s: %w", c.row, err)
			}
			links = append(links, l)
		}
		return nil
	}
	err := set(returns, file.Uretprobe, p.returns)
	if err == nil {
		err = set(entries, file.Uprobe, p.entry)
	}
	if err != nil {
		return nil, errors.Join(err, closeAll(links))
	}
	slices.Reverse(links)
	return links, nil
}

func closeAll(links []link.Link) error {
	var errs []error
	for _, l := range links {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}

// missingRows says which tables want for functions that no library has. A row is
// missing where all libraries of its kind are without it.
func missingRows(libs []*attachedLibrary) []record.Unavailable {
	var out []record.Unavailable
	for _, a := range libs {
		for _, r := range a.missing {
			has := func(o *attachedLibrary) bool {
				return o.library.Kind == r.Library && slices.Contains(o.rows, r.Name)
			}
			if slices.ContainsFunc(libs, has) {
				continue
			}
			out = append(out, record.Unavailable{
				Profiler: profilerOf(r.Set), Columns: columnsOf(r.Set),
				Reason: fmt.Sprintf("%s has no %s", a.library.Path, r.Functions[0].Names[0]),
			})
		}
	}
	return out
}

func profilerOf(s Set) string {
	switch s {
	case SetGraphs:
		return "cuda_graph"
	case SetTiming:
		return "forward_pass"
	}
	return "cpu"
}

func columnsOf(s Set) []string {
	switch s {
	case SetGraphs:
		return []string{"graphs", "graph_launches"}
	case SetTiming:
		return []string{"steps.gpu_end_ns", "steps.step_gpu_ns"}
	case SetLaunches:
		return []string{"launches"}
	case SetPhases:
		return []string{"copies"}
	case SetCollectives:
		return []string{"collectives"}
	}
	return []string{"cpu_operations"}
}
