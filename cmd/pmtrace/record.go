package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/pmtrace/pmtrace/probes/check"
	"github.com/pmtrace/pmtrace/probes/target"
)

type recordOptions struct {
	traceOptions
	cuptiOptions
	asRoot bool
}

func (a *app) recordCommand() *cobra.Command {
	var o recordOptions
	c := &cobra.Command{
		Use:   "record [flags] -- COMMAND [ARG]...",
		Short: "Start a vLLM server and trace it from its start",
		Long: `record starts COMMAND as the user who calls, in the caller's environment, and
traces the vLLM engines that come up below it from their first step. The command
gets a process group of its own; SIGINT, SIGTERM and SIGHUP are handed on to it
once, a second one kills it. Its exit code becomes pmtrace's (128+n if signal n
ended it).

Watching needs privileges: root, file capabilities on the binary, or sudo, which
record calls itself for its privileged half. Under sudo the command runs as the
user who called sudo (--as-root: as root), but sudo has cleared the environment
by then; so rather call record without it.

CUDA loads a library of pmtrace's into the server (CUDA_INJECTION64_PATH), which has
NVIDIA's own exact times of each CUDA graph replay, and for a second of each minute of
each kernel (--kernels). If anything in it fails, the server goes on without, and so
does pmtrace. --cupti off does without: CUPTI serves one tool at a time, and torch.profiler,
nsys or ncu in the server may be another. With --moe on it tells which experts of a
mixture of experts each token chose; of a server with --enable-return-routed-experts
pmtrace tells that by itself.

VLLM_ENABLE_PROFILING=0 in the environment runs the command untraced.`,
		Example: "  pmtrace record -- vllm serve Qwen/Qwen3-0.6B --port 8000",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage("record wants a command to run: pmtrace record -- vllm serve MODEL")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error { return a.record(c.Context(), &o, args) },
	}
	o.flags(c.Flags())
	return c
}

func (o *recordOptions) flags(f *pflag.FlagSet) {
	o.traceOptions.flags(f)
	o.cuptiOptions.flags(f)
	o.cpuWindows = windows{time.Second, 10 * time.Second}
	f.Var(&o.cpuWindows, "cpu-windows", "with CUPTI: watch kernel launches and copies, which the CPU's phases and counts are told by, for a time of each period: 1s/10s, off, always; with --cupti off, and where the library cannot be put into the server, always")
	f.BoolVar(&o.asRoot, "as-root", false, "under sudo: run the command as root")
	f.SetInterspersed(false)
}

func (o *recordOptions) resolve(env environment) error {
	if err := o.traceOptions.resolve(env); err != nil {
		return err
	}
	if o.cuptiOptions.cupti == cuptiOff {
		o.cpuWindows = always()
	}
	return o.cuptiOptions.resolve(o.moe)
}

func (a *app) record(ctx context.Context, o *recordOptions, argv []string) error {
	if err := o.resolve(a.env); err != nil {
		return err
	}
	s := &spawn{app: a, argv: argv, asRoot: o.asRoot}
	switch a.env.get("VLLM_ENABLE_PROFILING") {
	case "0":
		return s.untraced()
	case "1":
		o.force = true
	}
	defer a.inject(o, s)()
	ship := a.shipping(&o.traceOptions, nil)
	watch, err := a.watcher(&o.traceOptions)
	if err != nil {
		return err
	}
	defer watch.close()
	if err := s.start(); err != nil {
		return err
	}
	done := make(chan result, 1)
	go func() {
		r := ship.end(watch.trace(ctx, s.pid()))
		a.say(r.err) // now: the server may run on for days
		done <- r
	}()
	code := s.wait()
	r := <-done
	return a.recorded(o, code, r)
}

// say tells why tracing failed, unless the privileged half has said it itself.
func (a *app) say(err error) {
	var said exitCode
	if err != nil && !errors.As(err, &said) {
		fmt.Fprintln(a.stderr, "pmtrace:", err.Error())
	}
}

// lostEvents is the end of a strict trace that lost some.
func lostEvents(n uint64) error {
	return &failure{code: exitLost, what: fmt.Sprintf("%d events were lost", n), remedy: "try a larger --ring-size"}
}

// recorded gives the server's code on, unless --strict asks for more.
func (a *app) recorded(o *recordOptions, server int, r result) error {
	switch {
	case o.strict && r.err != nil:
		return exitCode(exitStrict)
	case o.strict && r.lost > 0 && server == 0:
		return lostEvents(r.lost)
	case server != 0:
		return exitCode(server)
	}
	return nil
}

// watcher is the half of record that needs privileges: in this process, or in
// one of its own under sudo.
type watcher interface {
	// trace traces the tree below a process until it ends.
	trace(ctx context.Context, pid int) result
	close()
}

func (a *app) watcher(o *traceOptions) (watcher, error) {
	if a.world.euid != 0 && !check.Privileged(a.world.machine) {
		return a.startHelper(o)
	}
	if err := a.preflight(o); err != nil {
		return nil, err
	}
	return &here{a, o}, nil
}

// here watches in this process.
type here struct {
	app  *app
	opts *traceOptions
}

func (h *here) trace(ctx context.Context, pid int) result {
	return h.app.traceTree(ctx, h.opts, pid)
}

func (h *here) close() {}

// traceTree traces what comes up below a process.
func (a *app) traceTree(ctx context.Context, o *traceOptions, pid int) result {
	tree, err := a.world.proc.Tree(pid)
	if errors.Is(err, target.ErrGone) {
		return result{err: &failure{code: exitFailed, what: "nothing was traced", why: "the command ended at once"}}
	}
	if err != nil {
		return result{err: targetFailure(pid, err)}
	}
	a.shed(o, modeRecord) // now: the server itself was started with the caller's
	// The server writes to the same terminal, so no line is rewritten there.
	return a.trace(ctx, o, modeRecord, tree, newStatus(a.stderr, "", false, o.logInterval))
}
