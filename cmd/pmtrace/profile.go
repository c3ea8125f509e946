package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/pmtrace/pmtrace/cmd/pmtrace/load"
	"github.com/pmtrace/pmtrace/output/session"
)

// Modes of profile.
const (
	profileQuick = "quick"
	profileFull  = "full"
	profileMoE   = "moe"
)

type profileOptions struct {
	recordOptions
	mode  string
	load  string // the user's own command
	plan  load.Plan
	time  seconds // of the load
	ready seconds
	url   string
	log   string // the server's
}

func (a *app) profileCommand() *cobra.Command {
	var o profileOptions
	c := &cobra.Command{
		Use:   "profile [flags] -- COMMAND [ARG]...",
		Short: "Start a vLLM server, put it under load, and trace it: one command",
		Long: `profile starts COMMAND like record, waits until the server is ready, puts it
under load, ends it, and says how it went: the session that record would have
written, in it load.json with what the clients saw, and the report (profile_report.html).

The load is of random tokens: --load-concurrency clients that each go on at once, or
--load-rate requests a second. --load runs a command of yours instead (by sh -c), with the
server's address in PMTRACE_URL and its model's name in PMTRACE_MODEL.

--mode full also samples the GPU's hardware counters in windows (--gpu-sampling windows),
--mode moe also tells which experts each token chose (--moe on).`,
		Example: `  pmtrace profile -- vllm serve Qwen/Qwen3-0.6B
  pmtrace profile --mode full --load-prompt 64:2048 --load-output 256 --load-rate 8 -- vllm serve MODEL
  pmtrace profile --load 'vllm bench serve --base-url $PMTRACE_URL --model $PMTRACE_MODEL' -- vllm serve MODEL`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage("profile wants a command to run: pmtrace profile -- vllm serve MODEL")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error { return a.profile(c.Context(), &o, c.Flags(), args) },
	}
	f := c.Flags()
	o.flags(f)
	f.StringVar(&o.mode, "mode", profileQuick, profileQuick+"; "+profileFull+": hardware counters, too, and a load of two minutes; "+profileMoE+": the choices of experts, too (--moe on)")
	f.StringVar(&o.load, "load", "", "make the load by this `command`")
	o.plan = load.Plan{Concurrency: 16, Prompt: load.Span{Low: 256, High: 256}, Output: load.Span{Low: 128, High: 128}}
	f.IntVar(&o.plan.Concurrency, "load-concurrency", o.plan.Concurrency, "clients; with --load-rate: requests in flight at most")
	f.Float64Var(&o.plan.Rate, "load-rate", 0, "requests/s, at random times with this mean (default: each client sends its next at once)")
	f.IntVar(&o.plan.Requests, "load-requests", 0, "end the load after this many requests")
	f.Var(&o.time, "load-time", "end the load after this time (default 30s; full: 2m; none with --load-requests)")
	f.Var(&o.plan.Prompt, "load-prompt", "tokens of a prompt")
	f.Var(&o.plan.Output, "load-output", "tokens that a request generates")
	f.Uint64Var(&o.plan.Seed, "load-seed", 1, "two loads of one seed ask the same")
	o.ready = seconds(15 * time.Minute)
	f.Var(&o.ready, "ready-timeout", "how long to wait for the server")
	f.StringVar(&o.url, "url", "", "the server's `address` (default: http, by the port in its command line)")
	f.StringVar(&o.log, "server-log", "", "`file` for what the server prints (default: server.log beside the sessions)")
	return c
}

// settle makes of flags that were not given what the mode wants.
func (o *profileOptions) settle(f *pflag.FlagSet) error {
	switch o.mode {
	case profileQuick:
		o.plan.Time = 30 * time.Second
	case profileFull:
		o.plan.Time = 2 * time.Minute
		if !f.Changed("gpu-sampling") {
			o.gpuSampling = samplingWindows
		}
	case profileMoE:
		o.plan.Time = 30 * time.Second
		if !f.Changed("moe") {
			o.moe = moeOn
		}
	default:
		return usage("--mode: %q is not one of %s, %s, %s", o.mode, profileQuick, profileFull, profileMoE)
	}
	if o.plan.Requests > 0 {
		o.plan.Time = 0
	}
	if o.time > 0 {
		o.plan.Time = time.Duration(o.time)
	}
	if err := o.plan.Validate(); err != nil {
		return usage("the load: %s", err.Error())
	}
	return nil
}

func (a *app) profile(ctx context.Context, o *profileOptions, f *pflag.FlagSet, argv []string) error {
	if err := o.settle(f); err != nil {
		return err
	}
	if err := o.resolve(a.env); err != nil {
		return err
	}
	traced := make(chan struct{})
	over := sync.OnceFunc(func() { close(traced) })
	o.begun = func(string) { over() }
	ship := a.shipping(&o.traceOptions, nil)
	log, err := a.serverLog(o)
	if err != nil {
		return failed("cannot write what the server prints", rootCause(err), "choose another --server-log or --output-dir")
	}
	defer log.Close()
	fmt.Fprintf(a.stderr, "pmtrace: the server prints to %s\n", log.Name())
	s := &spawn{app: a, argv: argv, asRoot: o.asRoot, output: log}
	defer a.inject(&o.recordOptions, s)()
	watch, err := a.watcher(&o.traceOptions)
	if err != nil {
		return err
	}
	defer watch.close()
	if err := s.start(); err != nil {
		return err
	}
	done, untraced := make(chan result, 1), make(chan struct{})
	go func() {
		r := watch.trace(ctx, s.pid())
		a.say(r.err)
		close(untraced)
		done <- r
	}()
	running, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	loaded := make(chan loadResult, 1)
	go func() {
		loaded <- a.makeLoad(running, o, s.pid(), argv, traced, untraced)
		s.end(false)
		select {
		case <-running.Done():
		case <-time.After(endPatience):
			s.end(true)
		}
	}()
	s.wait()
	cancel(errServerExited)
	l, r := <-loaded, <-done
	return a.profiled(o, &l, r, ship, log.Name())
}

// endPatience is how long a server may take to end when it is asked to.
const endPatience = time.Minute

// serverLog opens the file for the server's output: by default beside the sessions, where
// what others may have laid out is refused.
func (a *app) serverLog(o *profileOptions) (*os.File, error) {
	if o.log != "" {
		return os.OpenFile(o.log, os.O_CREATE|os.O_TRUNC|os.O_WRONLY|syscall.O_NOFOLLOW, 0o600)
	}
	dir, err := session.OpenPlace(o.place, session.Invoker(a.env.get))
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	if err := dir.Remove("server.log"); err != nil {
		return nil, err
	}
	return dir.Create("server.log")
}

// loadResult is how the load went.
type loadResult struct {
	result *load.Result // nil: not by us, or not at all
	model  string
	err    error // a *failure
}

// makeLoad waits until the server is ready and traced, and puts it under load.
func (a *app) makeLoad(ctx context.Context, o *profileOptions, pid int, argv []string, traced, untraced <-chan struct{}) loadResult {
	ready, cancel := context.WithTimeoutCause(ctx, time.Duration(o.ready), errNotReady)
	defer cancel()
	url, err := o.address(ready, a, pid)
	if err != nil {
		return loadResult{err: a.notLoaded(ctx, err)}
	}
	server := load.NewServer(url, cmp.Or(valueOf(argv, "--api-key"), a.env.get("VLLM_API_KEY")))
	if err := server.Ready(ready); err != nil {
		return loadResult{err: a.notLoaded(ctx, err)}
	}
	select {
	case <-traced:
	case <-untraced:
		return loadResult{err: a.notLoaded(ctx, errors.New("the server is not traced"))}
	case <-ready.Done():
		return loadResult{err: a.notLoaded(ctx, fmt.Errorf("no engine is traced: %w", context.Cause(ready)))}
	}
	if o.load != "" {
		return loadResult{err: a.ownLoad(ctx, o, server)}
	}
	if err := server.Look(ctx); err != nil {
		return loadResult{err: a.notLoaded(ctx, err)}
	}
	fmt.Fprintf(a.stderr, "pmtrace: %s serves %s at %s; the load begins: %s\n", argv[0], printable(server.Model()), url, o.words())
	r, err := a.runLoad(ctx, &loadJob{URL: server.URL, Key: server.Key, Plan: o.plan})
	if err != nil || ctx.Err() != nil {
		return loadResult{err: a.notLoaded(ctx, err)}
	}
	return loadResult{result: r, model: server.Model()}
}

var errNotReady = errors.New("the server was not ready in time")

// notLoaded says why there was no load.
func (a *app) notLoaded(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), errServerExited) {
		err = errors.New("the server ended before the load did")
	}
	if err == nil {
		err = context.Cause(ctx)
	}
	return failed("the load was not made", err, "see what the server printed")
}

// address is where the server listens: as its command line says, once it runs.
func (o *profileOptions) address(ctx context.Context, a *app, pid int) (string, error) {
	if o.url != "" {
		return o.url, nil
	}
	for {
		if tree, err := a.world.proc.Tree(pid); err == nil && tree.Port != 0 {
			for _, p := range tree.Processes {
				if host := valueOf(p.Command, "--host"); host != "" {
					return address(host, tree.Port), nil
				}
			}
			return address("", tree.Port), nil
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("no vLLM API server came up: %w", context.Cause(ctx))
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// address of a server by what it binds to.
func address(host string, port int) string {
	if ip := net.ParseIP(host); host == "" || ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, strconv.Itoa(port))
}

// valueOf is the value of a flag on a command line: --flag VALUE or --flag=VALUE.
func valueOf(argv []string, flag string) string {
	for i, arg := range argv {
		if v, ok := strings.CutPrefix(arg, flag+"="); ok {
			return v
		}
		if arg == flag && i+1 < len(argv) {
			return argv[i+1]
		}
	}
	return ""
}

// words describe the built-in load.
func (o *profileOptions) words() string {
	p := &o.plan
	w := fmt.Sprintf("%d clients", p.Concurrency)
	if p.Rate > 0 {
		w = fmt.Sprintf("%g requests/s, at most %d at a time", p.Rate, p.Concurrency)
	}
	w += fmt.Sprintf(", %s tokens in, %s out", &p.Prompt, &p.Output)
	if p.Requests > 0 {
		w += fmt.Sprintf(", %d requests", p.Requests)
	}
	if p.Time > 0 {
		w += ", " + p.Time.String()
	}
	return w
}

// ownLoad runs the user's command.
func (a *app) ownLoad(ctx context.Context, o *profileOptions, server *load.Server) error {
	model := ""
	if err := server.Look(ctx); err == nil {
		model = server.Model()
	}
	fmt.Fprintf(a.stderr, "pmtrace: the server is ready at %s; the load begins: %s\n", server.URL, o.load)
	s := &spawn{
		app: a, argv: []string{"sh", "-c", o.load}, asRoot: o.asRoot, quiet: true,
		variables: map[string]string{"PMTRACE_URL": server.URL, "PMTRACE_MODEL": model},
	}
	if err := s.start(); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { s.end(false) })
	defer stop()
	if code := s.wait(); code != 0 {
		return &failure{code: exitFailed, what: "the load's command failed", why: fmt.Sprintf("exit code %d", code)}
	}
	return nil
}

// profiled says how the load went, keeps it in the session, and reports on that.
func (a *app) profiled(o *profileOptions, l *loadResult, r result, ship *shipping, log string) error {
	if l.result != nil {
		f := l.result.Figures()
		fmt.Fprint(a.stderr, loadLines(&f))
		if r.path != "" {
			if err := keepLoad(r.path, o, l, &f); err != nil {
				fmt.Fprintln(a.stderr, "pmtrace: load.json could not be written:", rootCause(err))
			}
		}
		if f.Requests == f.Failed {
			l.err = failed("no request of the load succeeded", errors.New(cmp.Or(f.FirstError, "there was none")), "see "+log)
		}
	}
	if r.path != "" {
		if err := a.report(reportOptions{session: r.path}); err != nil { // the session is there all the same
			a.say(err)
		}
	}
	traced := r.err
	if r = ship.end(r); traced == nil {
		a.say(r.err)
	}
	switch {
	case l.err != nil:
		return l.err
	case r.err != nil:
		return exitCode(codeOfError(r.err))
	case o.strict && r.lost > 0:
		return lostEvents(r.lost)
	}
	return nil
}

// loadLines are the load's part of the summary.
func loadLines(f *load.Figures) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\nLoad         %d requests in %.1f s, %d failed: %.2f requests/s, %.1f tokens/s out\n",
		f.Requests, f.Took.Seconds(), f.Failed, f.RequestRate, f.TokenRate)
	if f.FirstError != "" {
		fmt.Fprintf(&b, "             the first that failed: %s\n", printable(f.FirstError))
	}
	ms := func(d time.Duration) string { return fmt.Sprintf("%.2f ms", d.Seconds()*1e3) }
	for _, p := range []struct {
		name string
		of   *load.Percentiles
	}{{"to first token", &f.FirstToken}, {"per output token", &f.PerToken}, {"whole request", &f.Whole}} {
		fmt.Fprintf(&b, "             %-17s p50 %s, p90 %s, p99 %s\n", p.name, ms(p.of.P50), ms(p.of.P90), ms(p.of.P99))
	}
	b.WriteString("             (as the clients saw it: with the network, the API server, and tokenizing)\n")
	return b.String()
}

// keepLoad writes load.json.
func keepLoad(dir string, o *profileOptions, l *loadResult, f *load.Figures) error {
	type kept struct {
		Model    string         `json:"model"`
		Plan     load.Plan      `json:"plan"`
		Figures  *load.Figures  `json:"figures"`
		Requests []load.Request `json:"requests"`
	}
	requests := slices.Clone(l.result.Requests)
	slices.SortFunc(requests, func(a, b load.Request) int { return a.N - b.N })
	s, err := session.Open(dir)
	if err != nil {
		return err
	}
	defer s.Close()
	return s.Replace("load.json", func(w io.Writer) error {
		e := json.NewEncoder(w)
		e.SetIndent("", " ")
		return e.Encode(kept{l.model, o.plan, f, requests})
	})
}
