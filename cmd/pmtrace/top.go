package main

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/pmtrace/pmtrace/cmd/pmtrace/top"
	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/journal"
	"github.com/pmtrace/pmtrace/output/session"
)

type topOptions struct {
	traceOptions
	pid      int
	window   seconds
	interval seconds
	json     bool
}

func (a *app) topCommand() *cobra.Command {
	o := topOptions{window: seconds(10 * time.Second), interval: seconds(time.Second)}
	c := &cobra.Command{
		Use:   "top [SESSION]",
		Short: "Show what a vLLM server does now",
		Long: `top shows rates, batches, step times, latencies, queues, KV cache, GPU, and the slowest
requests of the last seconds. It watches a server itself, as attach does, and writes
nothing; or it follows a SESSION that attach, record or profile is writing, beside it and
without disturbing it, and stays when that has ended.

Where stdout is no terminal it prints a block of lines each interval, or with --json a
line of JSON, until the session ends. Keys: q quit, p pause, s sort, ? help.`,
		Example: `  sudo pmtrace top
  pmtrace top /tmp/vllm_profiling/session_20261123_200354`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usage("top shows one session: pmtrace top …/session_…")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error { return a.top(c.Context(), &o, args) },
	}
	o.flags(c.Flags())
	return c
}

func (o *topOptions) flags(f *pflag.FlagSet) {
	all := pflag.NewFlagSet("", pflag.ContinueOnError)
	o.traceOptions.flags(all)
	// What would be written, and how, is not asked here.
	for _, name := range []string{"profilers", "no-profilers", "force", "ring-size", "gpu-interval"} {
		f.AddFlag(all.Lookup(name))
	}
	f.IntVar(&o.pid, "pid", 0, "a process of the server")
	f.Var(&o.window, "window", "time that the figures are of")
	f.Var(&o.interval, "interval", "time between two looks")
	f.BoolVar(&o.json, "json", false, "print a line of JSON each interval")
}

func (a *app) top(ctx context.Context, o *topOptions, args []string) error {
	if err := o.resolve(a.env); err != nil {
		return err
	}
	switch {
	case time.Duration(o.interval) < 100*time.Millisecond:
		return usage("--interval: at least 100ms")
	case o.window < o.interval:
		return usage("--window %v is shorter than --interval %v", time.Duration(o.window), time.Duration(o.interval))
	case len(args) > 0 && o.pid != 0:
		return usage("top follows a session or watches a process, not both")
	}
	ctx, stop := a.interruptible(ctx)
	defer stop()
	w := newWatch(time.Duration(o.window), a.world.now)
	if len(args) > 0 {
		return a.topSession(ctx, o, w, args[0])
	}
	return a.topProcess(ctx, o, w)
}

// topSession follows the journal of a session.
func (a *app) topSession(ctx context.Context, o *topOptions, w *watch, path string) error {
	dir, err := openSession(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	files, err := session.Open(filepath.Join(dir.Path(), "journal"))
	if err != nil {
		return failed("cannot follow "+dir.Path(), errors.New("no journal in it"), whichSession)
	}
	defer files.Close()
	r, err := journal.Follow(files.FS())
	if errors.Is(err, fs.ErrNotExist) {
		return failed("cannot follow "+dir.Path(), errors.New("no journal in it"), whichSession)
	}
	if err != nil {
		return failed("cannot follow "+dir.Path(), rootCause(err), "")
	}
	ctx, cancel := context.WithCancel(ctx)
	followed := make(chan error, 1)
	go func() { followed <- follow(ctx, r, w) }()
	err = a.show(ctx, o, w)
	cancel()
	return errors.Join(err, <-followed, r.Close())
}

// followEvery is how often a journal is looked at: it grows twice a second.
const followEvery = 200 * time.Millisecond

// follow hands a growing journal's records on until its end or ctx's.
func follow(ctx context.Context, r *journal.Reader, w *watch) error {
	ticks := time.NewTicker(followEvery)
	defer ticks.Stop()
	w.catchUp(true)
	for ctx.Err() == nil {
		rec, err := r.Next()
		if err != nil { // there is no more yet
			w.catchUp(false)
			list, more := r.Damage()
			w.damage(len(list) + more)
			if w.ended() {
				return w.Close()
			}
			select {
			case <-ctx.Done():
			case <-ticks.C:
			}
			continue
		}
		if err := w.Record(rec.Kind, rec.Payload); err != nil {
			return err
		}
	}
	return nil
}

// topProcess watches a server as attach does, and writes nothing.
func (a *app) topProcess(ctx context.Context, o *topOptions, w *watch) error {
	o.place = ""
	a.shed(&o.traceOptions, modeAttach)
	var pids []int
	if o.pid != 0 {
		pids = []int{o.pid}
	}
	servers, err := a.choose(pids, o.force)
	if err != nil {
		return err
	}
	if err := a.preflight(&o.traceOptions, checkTargets(servers[0])...); err != nil {
		return err
	}
	said := &lastLine{}
	w.said = said.String
	world := *a.world
	world.create = func(string, time.Time, environment) (sessionDir, error) { return &unwritten{w}, nil }
	tracing := &app{stdin: a.stdin, stdout: io.Discard, stderr: said, env: a.env, world: &world}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	traced := make(chan result, 1)
	go func() {
		r := tracing.trace(ctx, &o.traceOptions, modeAttach, servers[0], newStatus(io.Discard, "", false, 0))
		if r.err != nil {
			cancel(r.err) // the screen, too
		}
		traced <- r
	}()
	err = a.show(ctx, o, w)
	cancel(errInterrupted)
	r := <-traced
	if r.err != nil {
		return r.err
	}
	return err
}

// show shows what w has until the user or ctx ends it.
func (a *app) show(ctx context.Context, o *topOptions, w *watch) error {
	interval := time.Duration(o.interval)
	if !o.json && isTerminal(a.stdout) && a.env.get("TERM") != "dumb" {
		return top.Screen(ctx, a.stdin, a.stdout, a.env.list(), w.frame, interval)
	}
	return top.Lines(ctx, a.stdout, w.frame, interval, o.json)
}

// unwritten is a session of which nothing is kept.
type unwritten struct{ watch *watch }

func (u *unwritten) ID() string                            { return "top" }
func (u *unwritten) Path() string                          { return "" }
func (u *unwritten) Log() (io.WriteCloser, error)          { return nowhere{io.Discard}, nil }
func (u *unwritten) Journal(func()) (journalWriter, error) { return nowhere{io.Discard}, nil }
func (u *unwritten) Finish(bool) (string, error)           { return "", nil }
func (u *unwritten) Close() error                          { return nil }
func (u *unwritten) Kept() error                           { return nil }
func (u *unwritten) Replay(func(byte, []byte) error) ([]string, error) {
	return nil, fs.ErrNotExist
}

func (u *unwritten) Tables(record.Start, bool, []listener, *slog.Logger) (pipeline, error) {
	return u.watch, nil
}

// nowhere is a file that is not there.
type nowhere struct{ io.Writer }

func (nowhere) Append(byte, []byte) error { return nil }
func (nowhere) Save() error               { return nil }
func (nowhere) Close() error              { return nil }

// lastLine keeps what tracing said last.
type lastLine struct {
	mu   sync.Mutex
	line string
}

func (l *lastLine) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.line = strings.TrimSpace(string(b))
	return len(b), nil
}

func (l *lastLine) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.line
}
