package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/pmtrace/pmtrace/e2e/machine"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Stdout, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(1)
	}
}

const (
	place = "e2e/soak"   // of the results
	work  = "build/soak" // of what the tests leave
)

type options struct {
	only           string
	hours, minutes float64
	step           time.Duration
	vllm           string
}

func run(ctx context.Context, stdout io.Writer, args []string) error {
	var o options
	f := flag.NewFlagSet("soak", flag.ContinueOnError)
	f.StringVar(&o.only, "only", "", "simulated or real; the other's figures stay")
	f.Float64Var(&o.hours, "hours", 72, "simulated hours, three days of them")
	f.DurationVar(&o.step, "step", 100*time.Millisecond, "simulated time of a step: 72 hours of steps of 100ms are 130 million rows, those of 10ms ten times as many")
	f.Float64Var(&o.minutes, "minutes", 60, "that the real server is traced")
	f.StringVar(&o.vllm, "vllm", "0.32.0", "version of the real server")
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() > 0 || o.only != "" && o.only != "simulated" && o.only != "real" {
		return errors.New("see soak -help")
	}
	if err := os.MkdirAll(work, 0o755); err != nil {
		return err
	}
	r, err := readResults(place)
	if err != nil {
		return err
	}
	var failed error
	if o.only != "real" {
		fmt.Fprintf(stdout, "%v hours of simulated time\n", o.hours)
		failed = errors.Join(failed, part(ctx, "simulated", &r.Simulated, simulation(ctx, o)))
	}
	if o.only != "simulated" && ctx.Err() == nil {
		fmt.Fprintf(stdout, "%v minutes of a real server\n", o.minutes)
		test, err := server(ctx, o)
		if err != nil {
			return err
		}
		failed = errors.Join(failed, part(ctx, "real", &r.Real, test))
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if r.Machine, err = machine.This(); err != nil {
		return err
	}
	return errors.Join(failed, r.write(place))
}

// simulation is the test of decode that goes through days.
func simulation(ctx context.Context, o options) *exec.Cmd {
	c := exec.CommandContext(ctx, "go", "test", "-count=1", "-timeout", "48h", "-v", "-run", "^TestSoak$", "./decode")
	c.Env = append(os.Environ(), fmt.Sprintf("PMTRACE_SOAK_HOURS=%v", o.hours), "PMTRACE_SOAK_STEP="+o.step.String(), "PMTRACE_SOAK_DIR="+absolute(work))
	return c
}

// server is the test of e2e that traces one, with ./pmtrace as it was built.
func server(ctx context.Context, o options) (*exec.Cmd, error) {
	programs := absolute(filepath.Join(work, "programs"))
	if err := os.MkdirAll(programs, 0o755); err != nil {
		return nil, err
	}
	for _, c := range [][]string{
		{"cp", "pmtrace", programs},
		{"go", "build", "-o", filepath.Join(programs, "truth"), "./e2e/truth"},
	} {
		if out, err := exec.CommandContext(ctx, c[0], c[1:]...).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%s: %w: %s", c[0], err, out)
		}
	}
	long := time.Duration(o.minutes * float64(time.Minute))
	c := exec.CommandContext(ctx, "go", "test", "-tags", "e2e", "-count=1", "-timeout", (long + time.Hour).String(), "-v", "-run", "^TestSoak$", "./e2e")
	c.Env = append(os.Environ(), "PMTRACE_E2E=soak", "PMTRACE_E2E_VLLM="+o.vllm, "PMTRACE_E2E_SOAK="+long.String(), "PMTRACE_E2E_PROGRAMS="+programs)
	return c, nil
}

func absolute(path string) string {
	full, err := filepath.Abs(path)
	if err != nil {
		return path
	}
	return full
}

// part runs a test and takes what it leaves, also where it fails.
func part[T any](ctx context.Context, name string, into **T, test *exec.Cmd) error {
	left := absolute(filepath.Join(work, name+".json"))
	if err := os.Remove(left); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	log, err := os.Create(filepath.Join(work, name+".log"))
	if err != nil {
		return err
	}
	defer log.Close()
	test.Env = append(test.Env, "PMTRACE_SOAK_RESULTS="+left)
	test.Stdout, test.Stderr = log, log
	// A test ends what it has begun, when it is asked to.
	test.Cancel = func() error { return test.Process.Signal(os.Interrupt) }
	test.WaitDelay = time.Minute
	failed := test.Run()
	if failed != nil {
		failed = fmt.Errorf("%s: %w: see %s", name, failed, log.Name())
	}
	data, err := os.ReadFile(left)
	if err != nil {
		return errors.Join(failed, err)
	}
	*into = nil
	return errors.Join(failed, json.Unmarshal(data, into))
}
