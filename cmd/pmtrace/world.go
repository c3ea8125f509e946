package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"time"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/cap"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/probes/check"
	"github.com/pmtrace/pmtrace/probes/hook"
	"github.com/pmtrace/pmtrace/probes/target"
)

// world is what the commands touch outside of themselves. Tests bring their own.
type world struct {
	proc    target.Proc
	machine check.Machine
	// find looks for an engine in a process; the error may be a *notReady.
	find func(pid int, force bool) (engine, error)
	// findWorker opens the interpreter of a process that may run a model.
	findWorker func(pid int, force bool) (worker, error)
	// moeLayers are the layers with experts of the model that a process runs; nil: not known.
	moeLayers func(pid int, force bool) []int32
	// gpus opens the driver's own view of the devices.
	gpus func() (gpuMonitor, error)
	// sampler begins a session with a device's hardware counters. It and the
	// session end when ctx does.
	sampler func(context.Context, samplerOptions) (gpuSampler, error)
	// rings opens the directory in which processes with our library tell.
	rings func(dir string, session uint64) (rings, error)
	// tracer loads the BPF programs.
	tracer func(tracerOptions) (tracer, error)
	// create begins a session.
	create func(place string, now time.Time, env environment) (sessionDir, error)
	// open opens one that exists.
	open func(path string) (sessionDir, error)

	// shed gives up all capabilities but some, and with noNew the means to get others.
	shed func(keep []cap.Value, noNew bool) error

	now       func() time.Time
	monotonic func() int64 // CLOCK_MONOTONIC, ns
	exit      func(code int)
	euid      int
}

// engine is a vLLM engine that was found in a process; only a tracer looks
// into it.
type engine any

// worker is a process that may run a model; only a tracer looks into it.
type worker any

type tracerOptions struct {
	ringBytes int
	profilers []string
	calls     []string // CUDA calls asked for by --cuda-calls
	windowed  bool     // launches and copies are probed between OpenWindow and CloseWindow
	allCPUs   bool     // --breakpoints cpus
	hooks     hookOptions
	routed    bool // what vLLM itself has of the choices of experts is read
	needHooks bool // rather no engine than one without all of its hooks
	log       *slog.Logger
}

// workerSpec is what is known of a worker from its place in the server.
type workerSpec struct {
	engine       *int // index in the events
	engineThread int  // where the engine is in the same process
	rank         *int
	otherProcess bool // than the engine's
	fromStart    bool // before it could capture a graph
	// begin lets the worker's events come, after what it is given was written.
	begin func(fact record.Worker, begin func() error) error
}

// tracer watches engines.
type tracer interface {
	// Attach arms the watches on an engine; it returns what is known of the
	// engine as it is traced, and what could not be had.
	Attach(engine) (record.Engine, []record.Unavailable, error)
	// AttachRouted copies an engine's routed experts in a process that runs its model, where
	// the engine's own has none; layers: with experts. An error: not in this process.
	AttachRouted(engine engine, index, pid int, force bool) (source string, layers []int32, err error)
	// RoutedMissing says why they are nowhere else; "": there is no more to look for.
	RoutedMissing(engine) string
	// AttachWorker probes the CUDA calls of a process; errNoCUDA: not yet.
	AttachWorker(worker, workerSpec) (record.Worker, []record.Unavailable, error)
	// DetachWorker takes the probes off it.
	DetachWorker(index int) error
	// OpenWindow probes launches and copies, EndWindow says that it is over, and CloseWindow
	// takes the probes off: probes.Tracer.
	OpenWindow() []record.Fact
	EndWindow() []record.Fact
	CloseWindow()
	// Look, about once a second, follows what the workers have become; it returns
	// what is new.
	Look() []record.Fact
	// HooksOf gives the hooks that Attach has set in a process.
	HooksOf(pid int) []record.Hook
	// AttachHooks sets the hooks of a process that is no engine.
	AttachHooks(pid int, kind hook.Process, engine *int, force bool) ([]record.Hook, []record.Unavailable)
	// LookAtHooks, about once a second, reads the counters of hooks; changed are those
	// that were taken off.
	LookAtHooks() (counts []record.HookCount, changed []record.Hook, err error)
	// Run hands on what comes until ctx ends and all is handed on. idle is called
	// each time that nothing is waiting, a few times a second.
	Run(ctx context.Context, sink func(kind byte, payload []byte) error, idle func() error) error
	// Cost is what the BPF programs took, where the kernel counts it
	// (kernel.bpf_stats_enabled).
	Cost() ([]programCost, error)
	// Losses are counters that only rise.
	Losses() ([]record.Loss, error)
	Close() error
}

// gpuMonitor reads what the driver says of the devices.
type gpuMonitor interface {
	// Use chooses the devices that processes run on, and describes them. note
	// says what could not be told.
	Use(pids []int) (devices []record.GPU, note string, err error)
	Sample() []record.GPUSample
	// Losses count the calls that failed.
	Losses() []record.Loss
	// PeakDRAM is a device's memory bandwidth, bytes/s; 0: not known.
	PeakDRAM(index int) float64
	Close() error
}

type samplerOptions struct {
	pid    int // of a worker: libraries are looked for where it has its own
	device record.GPU
	// peakDRAM is its memory bandwidth, bytes/s; 0: not known.
	peakDRAM float64
	mode     string // 20us, 100us, windows
	log      *slog.Logger
}

// gpuSampler is a session with a device's hardware counters.
type gpuSampler interface {
	// Run hands on facts and samples until ctx ends.
	Run(ctx context.Context, fact func(record.Fact) error, counters func([]byte) error) error
}

type programCost struct {
	name string
	runs uint64
	time time.Duration
}

// sessionDir is a session directory and what is made in it.
type sessionDir interface {
	ID() string
	Path() string
	// Log makes the file for our own log.
	Log() (io.WriteCloser, error)
	// Journal begins the journal; rotated is called when it goes on in a new
	// file.
	Journal(rotated func()) (journalWriter, error)
	// Kept returns an error when somebody has removed what is written to.
	Kept() error
	// Replay hands a journal's records to sink, and says what it could not
	// read.
	Replay(sink func(kind byte, payload []byte) error) (damage []string, err error)
	// Tables begins the pipeline from records to Parquet tables. again: they
	// are there already and will be replaced when all is done.
	// also are given the rows, too.
	Tables(start record.Start, again bool, also []listener, log *slog.Logger) (pipeline, error)
	// Finish writes the files made from the tables and returns the summary.
	Finish(csv bool) (summary string, err error)
	Close() error
}

type journalWriter interface {
	Append(kind byte, payload []byte) error
	Save() error
	Close() error
}

// pipeline turns records into tables.
type pipeline interface {
	Record(kind byte, payload []byte) error
	Live() progress
	Close() error
}

// progress is what the status line shows.
type progress struct {
	steps, tokens    int64
	running, waiting int
	kvUsed, kvTotal  int
	lost             uint64 // events
	delayNS          int64  // by which rows are behind
}

func monotonic() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		return 0
	}
	return t.Nano()
}

// thisMachine is the world as it is.
func thisMachine() *world {
	w := &world{
		proc: target.Host(), machine: check.Linux{},
		now: time.Now, monotonic: monotonic, exit: os.Exit, euid: os.Geteuid(),
	}
	wire(w)
	return w
}
