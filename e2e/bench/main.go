package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Stderr, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// bench is one run of the benchmarks.
type bench struct {
	quick   bool
	torch   bool
	vllm    string
	work    string // sessions and logs
	log     io.Writer
	results *Results
	// How many steps the long run takes: an hour's worth.
	longSteps float64
}

// section is one thing measured.
type section struct {
	name   string
	server bool // needs a real one
	run    func(context.Context, *bench, *server) error
}

var sections = []section{
	{"step", false, measureStep},
	{"served", true, measureServedStep},
	{"tracer", false, measureTracer},
	{"long", false, measureLong}, // decode takes its session
	{"decode", false, measureDecode},
	{"attach", true, measureAttach},
	{"server", true, measureServer},
	{"worst", false, measureWorst},
}

func run(ctx context.Context, log io.Writer, args []string) error {
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	b := &bench{log: log}
	f.BoolVar(&b.quick, "quick", false, "a minute or two besides starting the server: figures are rough")
	only := f.String("only", "", "sections to measure, by comma; the others' figures stay")
	f.StringVar(&b.vllm, "vllm", "0.32.0", "version of the real server")
	comparison := f.Bool("comparison", false, "instead: pmtrace beside other tools, into comparison.json and COMPARISON.md")
	f.BoolVar(&b.torch, "torch", false, "of -comparison: vLLM's torch profiler as well (minutes a stretch, and much memory)")
	beside := f.String("beside", "nothing that is known of", "what else runs on the machine, for the page of -comparison")
	out := f.String("out", "e2e/bench", "directory of the figures and pages")
	if err := f.Parse(args); err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("needs root: it traces other processes")
	}
	if _, err := os.Stat("pmtrace"); err != nil {
		return errors.New("no ./pmtrace here: make build, and run in the repository's root")
	}
	b.longSteps = pick(b, 360e3, 20e3)
	if err := os.MkdirAll("build", 0o755); err != nil {
		return err
	}
	var err error
	if b.work, err = os.MkdirTemp("build", "bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.work)
	if *comparison {
		return b.compare(ctx, *out, *only, *beside)
	}
	chosen, err := choose(*only)
	if err != nil {
		return err
	}
	if b.results, err = readResults(*out, *only != ""); err != nil {
		return err
	}
	if b.results.Machine, err = thisMachine(b.vllm, b.quick); err != nil {
		return err
	}
	return b.measure(ctx, chosen, *out)
}

func choose(only string) ([]section, error) {
	if only == "" {
		return sections, nil
	}
	names := strings.Split(only, ",")
	var chosen []section
	for _, s := range sections {
		if i := slices.Index(names, s.name); i >= 0 {
			chosen = append(chosen, s)
			names = slices.Delete(names, i, i+1)
		}
	}
	if len(names) > 0 {
		return nil, fmt.Errorf("no section %s", strings.Join(names, ", "))
	}
	return chosen, nil
}

// measure writes what is known after each section: a run that is ended has the figures of those before.
func (b *bench) measure(ctx context.Context, chosen []section, out string) error {
	var s *server
	if slices.ContainsFunc(chosen, func(c section) bool { return c.server }) {
		b.say("starting vLLM %s", b.vllm)
		var err error
		if s, err = startServer(ctx, b, nil); err != nil {
			return err
		}
		defer s.stop()
	}
	for _, c := range chosen {
		b.say("%s", c.name)
		if err := c.run(ctx, b, s); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		if err := b.results.write(out); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) say(format string, args ...any) { fmt.Fprintf(b.log, "bench: "+format+"\n", args...) }

// pick gives what the run takes of a measure: all of it, or a quick one's.
func pick[T any](b *bench, all, quick T) T {
	if b.quick {
		return quick
	}
	return all
}
