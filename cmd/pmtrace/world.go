package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/probes/check"
	"github.com/pmtrace/pmtrace/probes/target"
)

// world is what the commands touch outside of themselves. Tests bring their own.
type world struct {
	proc    target.Proc
	machine check.Machine
	// find looks for an engine in a process; the error may be a *notReady.
	find func(pid int, force bool) (engine, error)
	// tracer loads the BPF programs.
	tracer func(tracerOptions) (tracer, error)
	// create begins a session.
	create func(place string, now time.Time, env environment) (sessionDir, error)
	// open opens one that exists.
	open func(path string) (sessionDir, error)

	now       func() time.Time
	monotonic func() int64 // CLOCK_MONOTONIC, ns
	exit      func(code int)
	euid      int
}

// engine is a vLLM engine that was found in a process; only a tracer looks
// into it.
type engine any

type tracerOptions struct {
	ringBytes int
	profilers []string
	log       *slog.Logger
}

// tracer watches engines.
type tracer interface {
	// Attach arms the watches on an engine; it returns what is known of the
	// engine as it is traced, and what could not be had.
	Attach(engine) (record.Engine, []record.Unavailable, error)
	// Run hands on what comes until ctx ends and all is handed on. idle is called
	// each time that nothing is waiting, a few times a second.
	Run(ctx context.Context, sink func(kind byte, payload []byte) error, idle func() error) error
	// Losses are counters that only rise.
	Losses() ([]record.Loss, error)
	Close() error
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
	// Replay hands a journal's records to sink, and says what it could not
	// read.
	Replay(sink func(kind byte, payload []byte) error) (damage []string, err error)
	// Tables begins the pipeline from records to Parquet tables. again: they
	// are there already and will be replaced when all is done.
	Tables(start record.Start, again bool, log *slog.Logger) (pipeline, error)
	// Finish writes the files made from the tables and returns the summary.
	Finish(csv bool) (summary string, err error)
	Close() error
}

type journalWriter interface {
	Append(kind byte, payload []byte) error
	Flush() error
	Close() error
}

// pipeline turns records into tables.
type pipeline interface {
	Record(kind byte, payload []byte) error
	Live() live
	Close() error
}

// live is what the status line shows.
type live struct {
	steps, tokens    int64
	running, waiting int
	kvUsed, kvTotal  int
	lost             uint64 // events
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
