package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/pmtrace/pmtrace/probes/check"
	"github.com/pmtrace/pmtrace/probes/target"
)

const (
	modeAttach = "attach"
	modeRecord = "record"
)

type attachOptions struct {
	traceOptions
	pids        []int
	all         bool
	follow      bool
	sessionTime seconds
}

func (a *app) attachCommand() *cobra.Command {
	var o attachOptions
	c := &cobra.Command{
		Use:   "attach [--pid PID]... | --all",
		Short: "Trace a vLLM server that runs",
		Long: `attach traces a vLLM server that runs already. PID is any process of its tree;
without --pid it is the one vLLM server of this machine. Several --pid: a session
each. It ends when the server ends, after --duration, and at SIGINT or SIGTERM.

With --follow it waits when the server has ended, and goes on in a new session when one
comes up on its port (of a program without one: by its command).

Which experts of a mixture of experts each token chose it tells of servers that were
started with --enable-return-routed-experts (vLLM 0.22 and later).

--all traces each vLLM server that runs here or comes up, a session each, and goes on
until it is told to end: what a service of a machine does. With --ship-to it also ships
sessions of before that are not there yet.`,
		Example: `  sudo pmtrace attach --duration 60s
  sudo pmtrace attach --pid 578 --profilers batch,kv_cache,preemption
  sudo pmtrace attach --prometheus :9464
  pmtrace attach --all --session-time 1h --ship-to s3://traces/vllm`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.attach(c.Context(), &o) },
	}
	c.Flags().IntSliceVar(&o.pids, "pid", nil, "a process of the server; may be given again for more servers")
	c.Flags().BoolVar(&o.all, "all", false, "each server that runs here or comes up, until told to end")
	c.Flags().BoolVar(&o.follow, "follow", false, "go on in a new session when the server has ended and comes back")
	c.Flags().Var(&o.sessionTime, "session-time", "with --all: end a server's session after this time and begin another (default: when the server ends)")
	o.flags(c.Flags())
	return c
}

func (a *app) attach(ctx context.Context, o *attachOptions) error {
	if err := o.resolve(a.env); err != nil {
		return err
	}
	if o.all && len(o.pids) > 0 {
		return usage("--all and --pid exclude each other")
	}
	if o.all && o.breakpoints == breakpointsCPUs {
		return usage("--all and --breakpoints %s exclude each other: one engine has them all", breakpointsCPUs)
	}
	if o.all && o.follow {
		return usage("--all and --follow exclude each other: --all goes on with every server")
	}
	if o.all {
		return a.attachAll(ctx, o)
	}
	servers, err := a.choose(o.pids, o.force)
	if err != nil {
		return err
	}
	if o.prometheus != "" && len(servers) > 1 {
		return usage("--prometheus: one server's metrics have one address; attach to each of the %d by itself", len(servers))
	}
	for _, s := range servers {
		if err := a.preflight(&o.traceOptions, checkTargets(s)...); err != nil {
			return err
		}
	}
	ctx, stop := a.interruptible(ctx)
	defer stop()
	one := func(ctx context.Context, o traceOptions, s target.Server, st *status) result {
		return a.traceAndShip(ctx, o, modeAttach, s, st)
	}
	if o.follow {
		one = a.followServer
		if o.duration > 0 { // of all sessions together
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeoutCause(ctx, time.Duration(o.duration), errDuration)
			defer cancel()
			o.duration = 0
		}
	}
	return a.traceAll(ctx, &o.traceOptions, servers, one)
}

// traceAll traces servers side by side and says the worst that happened.
func (a *app) traceAll(ctx context.Context, o *traceOptions, servers []target.Server,
	one func(context.Context, traceOptions, target.Server, *status) result,
) error {
	results := make([]result, len(servers))
	var g errgroup.Group
	for i, s := range servers {
		name := ""
		if len(servers) > 1 {
			name = fmt.Sprintf("server %d", s.Root)
		}
		st := newStatus(a.stderr, name, len(servers) == 1 && isTerminal(a.stderr), o.logInterval)
		g.Go(func() error {
			results[i] = one(ctx, *o, s, st)
			return nil
		})
	}
	_ = g.Wait()
	return a.outcome(o, results)
}

// traceAndShip traces one server, and ships its session if that was asked for.
func (a *app) traceAndShip(ctx context.Context, o traceOptions, mode string, s target.Server, st *status) result {
	ship := a.shipping(&o, st)
	return ship.end(a.trace(ctx, &o, mode, s, st))
}

// outcome turns results into the command's: all but the last error are printed
// here.
func (a *app) outcome(o *traceOptions, results []result) error {
	var worst error
	lost := uint64(0)
	for _, r := range results {
		lost += r.lost
		if r.err == nil {
			continue
		}
		if worst != nil {
			fmt.Fprintln(a.stderr, "pmtrace:", worst.Error())
		}
		worst = r.err
	}
	if worst == nil && lost > 0 && o.strict {
		return lostEvents(lost)
	}
	return worst
}

// choose finds the servers to trace.
func (a *app) choose(pids []int, force bool) ([]target.Server, error) {
	if len(pids) == 0 {
		return a.theOne()
	}
	var servers []target.Server
	seen := map[int]bool{}
	for _, pid := range pids {
		s, err := a.resolve(pid, force)
		if err != nil {
			return nil, err
		}
		if !seen[s.Root] {
			seen[s.Root] = true
			servers = append(servers, s)
		}
	}
	return servers, nil
}

func (a *app) resolve(pid int, force bool) (target.Server, error) {
	if pid <= 0 {
		return target.Server{}, usage("--pid %d is no process", pid)
	}
	s, err := a.world.proc.Resolve(pid)
	if errors.Is(err, target.ErrNotVLLM) && (force || a.importsVLLM(pid)) {
		s, err = a.world.proc.Tree(pid)
	}
	if (errors.Is(err, target.ErrNotVLLM) || errors.Is(err, target.ErrNotPython)) && !check.Privileged(a.world.machine) {
		err = target.ErrDenied // it may be one: we cannot look into it
	}
	if err != nil {
		return target.Server{}, targetFailure(pid, err)
	}
	return s, nil
}

// importsVLLM looks into a Python process whose command and files do not speak
// of vLLM: a program of one's own that runs an engine in process.
func (a *app) importsVLLM(pid int) bool {
	_, err := a.world.find(pid, false)
	var not *notReady
	return err == nil || errors.As(err, &not) && (not.state == stateLoading || not.state == stateNoEngine)
}

// theOne is the one server that runs here.
func (a *app) theOne() ([]target.Server, error) {
	servers, err := a.world.proc.List()
	if err != nil {
		return nil, failed("cannot look for servers", err, "")
	}
	switch len(servers) {
	case 1:
		return servers, nil
	case 0:
		return nil, impossible("no vLLM server runs here", "", "start one, name a process with --pid, or see pmtrace record --help")
	}
	return nil, usage("%d vLLM servers run here: choose one with --pid: %s", len(servers), serverList(servers))
}

func serverList(servers []target.Server) string {
	var words []string
	for _, s := range servers {
		w := fmt.Sprint(s.Root)
		if s.Model != "" {
			w += " (" + printable(s.Model) + ")"
		}
		words = append(words, w)
	}
	return strings.Join(words, ", ")
}

// targetFailure says why a process cannot be traced.
func targetFailure(pid int, err error) error {
	what := fmt.Sprintf("cannot trace process %d", pid)
	const list = "pmtrace ls lists the vLLM servers here"
	var several *target.SeveralError
	switch {
	case errors.As(err, &several):
		return usage("process %d has %d vLLM servers below it: choose one with --pid: %s", pid, len(several.Servers), serverList(several.Servers))
	case errors.Is(err, target.ErrGone):
		return impossible(what, "no such process", list)
	case errors.Is(err, target.ErrDenied):
		return impossible(what, "not permitted", "run it with sudo")
	case errors.Is(err, target.ErrNotPython):
		return impossible(what, "it is not a Python process", list)
	case errors.Is(err, target.ErrNotVLLM):
		return notVLLMFailure(pid)
	}
	return impossible(what, oneLine(err), list)
}

func notVLLMFailure(pid int) *failure {
	return impossible(fmt.Sprintf("cannot trace process %d", pid), "it runs Python, but not vLLM",
		"pmtrace ls lists the vLLM servers here; --force waits for vLLM in it all the same")
}
