package cpython

import (
	"fmt"
	"os"
	"strings"
)

// Options changes what Open refuses. The zero value is the strict default.
type Options struct {
	// AllowUnknown reads versions without a table by the nearest one's layout
	// and whatever the process publishes itself.
	AllowUnknown bool
	// AllowJIT opens an interpreter whose JIT is on. Objects can be read; but
	// bytecode watches miss what the JIT runs.
	AllowJIT bool
	// Limits bounds single reads. Zero fields mean DefaultLimits.
	Limits Limits
}

// Limits bounds what one call reads; more gives the Reason Limit.
type Limits struct {
	StrBytes  int // of one str or bytes object
	Items     int // of one container
	Names     int // entries of a dict that is searched by name
	CodeUnits int // of one code object
	Frames    int // of one thread
	Threads   int // of one interpreter
	MRO       int // base classes of a type
	Depth     int // wrappers followed by Unwrap
}

// DefaultLimits is far above what vLLM has and far below what hurts.
func DefaultLimits() Limits {
	return Limits{StrBytes: 1 << 20, Items: 1 << 20, Names: 1 << 15, CodeUnits: 1 << 18, Frames: 2048, Threads: 4096, MRO: 256, Depth: 16}
}

func (l Limits) withDefaults() Limits {
	d := DefaultLimits()
	for _, f := range []struct{ v, def *int }{
		{&l.StrBytes, &d.StrBytes}, {&l.Items, &d.Items}, {&l.Names, &d.Names}, {&l.CodeUnits, &d.CodeUnits},
		{&l.Frames, &d.Frames}, {&l.Threads, &d.Threads}, {&l.MRO, &d.MRO}, {&l.Depth, &d.Depth},
	} {
		if *f.v <= 0 {
			*f.v = *f.def
		}
	}
	return l
}

// Runtime reads one CPython process. Its methods may be used from several
// goroutines.
type Runtime struct {
	mem        Memory
	pid        int // 0 when opened from memory alone
	img        Image
	version    Version
	off        Offsets
	ops        *opcodeTable
	limits     Limits
	mismatches []Mismatch
	// exact: the process's PyInterpreterState is as large as the table's, so
	// that fields which it does not publish are where the table has them.
	exact    bool
	jit      bool
	failures *Counter
	types    *typeCache
}

// Open finds the interpreter of pid and prepares reading it. It gives an
// *UnsupportedError for versions outside 3.10 to 3.14, free-threaded builds and
// an enabled JIT, and NotFound where pid is no CPython.
func Open(pid int, opts Options) (*Runtime, error) {
	img, err := findImage(pid)
	if err != nil {
		return nil, err
	}
	r, err := openMemory(ProcessMemory(pid), img, opts)
	if err != nil {
		return nil, err
	}
	r.pid = pid
	if err := r.Verify(); err != nil {
		return nil, err
	}
	if err := r.refuseJIT(opts); err != nil {
		return nil, err
	}
	r.findMicro()
	return r, nil
}

// Verify checks that the layout fits what is there: the main interpreter's
// threads point back to it. NotFound: the interpreter has not begun yet, try
// again. WrongType: the build is not laid out as this version is.
func (r *Runtime) Verify() error {
	interp, err := r.MainInterpreter()
	if err != nil {
		return err
	}
	head, err := r.u64("interpreter", interp+uint64(r.off.Interp.ThreadsHead))
	if err != nil {
		return err
	}
	if head == 0 {
		return r.fail(NotFound, "threads", interp, "none yet")
	}
	back, err := r.u64("thread", head+uint64(r.off.Thread.Interp))
	if err == nil && back != interp {
		err = r.fail(WrongType, "thread", head, "it does not point back to its interpreter: unknown layout")
	}
	return err
}

// OpenMemory is Open for any Memory, where img says what is mapped.
func OpenMemory(mem Memory, img Image, opts Options) (*Runtime, error) {
	r, err := openMemory(mem, img, opts)
	if err != nil {
		return nil, err
	}
	if err := r.refuseJIT(opts); err != nil {
		return nil, err
	}
	return r, nil
}

func openMemory(mem Memory, img Image, opts Options) (*Runtime, error) {
	if img.RuntimeAddr == 0 {
		addr, ok := scanForRuntime(mem, img.Writable)
		if !ok {
			return nil, &Error{Reason: NotFound, Op: "interpreter", Detail: img.Path + " has no symbol _PyRuntime and no " + debugCookie + " in its data"}
		}
		img.RuntimeAddr = addr
	}
	r := &Runtime{mem: mem, img: img, limits: opts.Limits.withDefaults(), failures: new(Counter), types: newTypeCache()}
	head, published := readDebugHeader(mem, img.RuntimeAddr)
	if err := r.findVersion(head, published); err != nil {
		return nil, err
	}
	if !r.version.supported() && !opts.AllowUnknown {
		return nil, &UnsupportedError{Feature: "version", Found: "CPython " + r.version.String() + " in " + img.Path, Need: "CPython 3.10 to 3.14"}
	}
	if _, threaded, _ := versionFromPath(img.Path); head.freeThreaded || threaded {
		return nil, &UnsupportedError{Feature: "free-threaded build", Found: "CPython " + r.version.String() + "t in " + img.Path, Need: "a build with the GIL"}
	}
	r.off, _ = LayoutOf(r.version.nearest())
	r.ops = opcodesOf(r.version.nearest())
	r.exact = true
	if published {
		table := r.off.Interp.Size
		diff, err := applyDebugOffsets(mem, img.RuntimeAddr, &r.off)
		if err != nil {
			return nil, r.failErr("debug offsets", img.RuntimeAddr, err)
		}
		r.mismatches, r.exact = diff, table == r.off.Interp.Size
	}
	return r, nil
}

// findVersion asks the published offsets, then Py_Version, then the path.
func (r *Runtime) findVersion(head debugHeader, published bool) error {
	if published {
		if v, ok := versionFromHex(head.version); ok {
			r.version = v
			return nil
		}
	}
	if r.img.VersionAddr != 0 {
		if hex, err := r.u64("Py_Version", r.img.VersionAddr); err == nil {
			if v, ok := versionFromHex(hex); ok {
				r.version = v
				return nil
			}
		}
	}
	if v, _, ok := versionFromPath(r.img.Path); ok {
		r.version = v
		return nil
	}
	return &UnsupportedError{Feature: "version", Found: "no version in " + r.img.Path, Need: "CPython 3.10 to 3.14"}
}

// findMicro asks sys.hexversion for the rest of a version that only the path told.
func (r *Runtime) findMicro() {
	if r.version.Micro >= 0 {
		return
	}
	interp, err := r.MainInterpreter()
	if err != nil {
		return
	}
	sys, err := r.u64("interpreter", interp+uint64(r.off.Interp.SysDict))
	if err != nil {
		return
	}
	obj, err := r.DictGet(sys, "hexversion")
	if err != nil {
		return
	}
	hex, err := r.Int(obj)
	if v, ok := versionFromHex(uint64(hex)); err == nil && ok && v.Major == r.version.Major && v.Minor == r.version.Minor {
		r.version = v
	}
}

func (r *Runtime) refuseJIT(opts Options) error {
	how := r.detectJIT()
	r.jit = how != ""
	if !r.jit || opts.AllowJIT {
		return nil
	}
	return &UnsupportedError{
		Feature: "jit", Found: "CPython " + r.version.String() + " with its JIT on (" + how + ")",
		Need:   "the JIT off: it runs code past the watched bytecode",
		Remedy: "start the server with PYTHON_JIT=0",
	}
}

// detectJIT gives how it shows that the JIT is on, "" if it is off.
func (r *Runtime) detectJIT() string {
	o := &r.off.Interp
	if r.version.Minor < 13 {
		return ""
	}
	interps, err := r.Interpreters()
	if err != nil || len(interps) == 0 || !r.exact || (o.JIT == Absent && o.Optimizer == Absent) {
		return r.jitFromEnviron()
	}
	if o.JIT != Absent {
		v, err := r.fields("interpreter", interps[0], o.JIT)
		if err == nil && v.u8(o.JIT) != 0 {
			return "interp->jit is set"
		}
		return ""
	}
	optimizer, err := r.u64("interpreter", interps[0]+uint64(o.Optimizer))
	if err != nil || optimizer == 0 {
		return ""
	}
	// Off, it is a static object of type noop_optimizer.
	if t, err := r.Type(optimizer); err == nil && t.Name == "uop_optimizer" {
		return "interp->optimizer is a uop_optimizer"
	}
	return ""
}

// jitFromEnviron is the last resort: a build without a JIT ignores the
// variable, so this may refuse one that could be traced.
func (r *Runtime) jitFromEnviron() string {
	if r.pid == 0 {
		return ""
	}
	env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", r.pid))
	if err != nil {
		return ""
	}
	for kv := range strings.SplitSeq(string(env), "\x00") {
		if v, ok := strings.CutPrefix(kv, "PYTHON_JIT="); ok && v != "" && v != "0" {
			return "PYTHON_JIT=" + v + " in its environment"
		}
	}
	return ""
}

// Version is the interpreter's version.
func (r *Runtime) Version() Version { return r.version }

// Offsets is the layout in use: the table's, corrected by the process's own.
func (r *Runtime) Offsets() Offsets { return r.off }

// Mismatches lists where the process corrected the table.
func (r *Runtime) Mismatches() []Mismatch { return r.mismatches }

// Image is the ELF file of the interpreter.
func (r *Runtime) Image() Image { return r.img }

// JITEnabled reports whether the JIT is on (only with Options.AllowJIT).
func (r *Runtime) JITEnabled() bool { return r.jit }

// Failures counts the failed reads by reason, snapshots included.
func (r *Runtime) Failures() map[Reason]uint64 { return r.failures.Counts() }

// Memory is what the Runtime reads.
func (r *Runtime) Memory() Memory { return r.mem }

// WithMemory gives the same Runtime over other memory; they share counters.
func (r *Runtime) WithMemory(mem Memory) *Runtime {
	c := *r
	c.mem = mem
	return &c
}

// Snapshot gives a Runtime that reads each page once and remembers at most
// maxPages of 4 KiB. Use it for one walk and drop it.
func (r *Runtime) Snapshot(maxPages int) *Runtime {
	return r.WithMemory(Cached(r.mem, maxPages))
}
