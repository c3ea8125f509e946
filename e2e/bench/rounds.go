package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/pmtrace/pmtrace/e2e/process"
)

// Arm is what a server does with a tool at work, against the stretches without
// one right before and right after.
type Arm struct {
	Tool string `json:"tool"`
	How  string `json:"how"`
	// Ratios with / without: geometric means.
	TPOT Estimate `json:"tpot_ratio"`
	Rate Estimate `json:"rate_ratio"`
	CPU  Estimate `json:"cpu_per_step_ratio"` // of the engine's process
	Own  float64  `json:"own_cpu_pct_of_a_core,omitempty"`
	// Stretches in which the tool failed.
	Failed int `json:"failed,omitempty"`
	// Each pair's, of time per output token.
	Pairs []float64 `json:"tpot_ratios"`
}

// round keeps what the arms of all rounds saw.
type round struct {
	with, without stretch
	own           float64
}

const stretchTime = 1500 * time.Millisecond

// measureTools takes the tools in turn, each between two stretches without any.
// A stretch in which a tool fails is left out, and counted. done is called after each round.
func measureTools(ctx context.Context, t *subject, c *Tools, done func() error) error {
	stop, err := t.load(ctx)
	if err != nil {
		return err
	}
	defer stop()
	tools := tools
	if t.bench.torch {
		tools = append(slices.Clone(tools), torchProfiler)
	}
	seen, failed := make([][]round, len(tools)), make([][]error, len(tools))
	order := rand.New(rand.NewPCG(3, 4))
	var without []float64
	for n := range pick(t.bench, 8, 2) {
		began := time.Now()
		before, err := t.look(ctx)
		if err != nil {
			return err
		}
		for _, i := range order.Perm(len(tools)) {
			r, failure := t.with(ctx, tools[i])
			if failure != nil {
				failed[i] = append(failed[i], failure)
				t.bench.say("  %s: %v", tools[i].name, failure)
			}
			after, err := t.look(ctx)
			if err != nil {
				return fmt.Errorf("after %s: %w", tools[i].name, err)
			}
			r.without = between(before, after)
			if failure == nil {
				seen[i] = append(seen[i], r)
			}
			without = append(without, after.rate)
			before = after
		}
		sumUp(c, tools, seen, failed, without)
		if err := done(); err != nil {
			return err
		}
		t.bench.say("  round %d of the tools: %.0f s", n+1, time.Since(began).Seconds())
	}
	return nil
}

// sumUp makes the arms of the rounds so far.
func sumUp(c *Tools, tools []tool, seen [][]round, failed [][]error, without []float64) {
	c.Arms, c.Missing = nil, nil
	c.Rate = estimate(without).Mean
	for i, tool := range tools {
		if len(failed[i]) > 0 && len(seen[i]) < 2 {
			c.Missing = append(c.Missing, Missing{tool.name, errors.Join(failed[i]...).Error()})
			continue
		}
		a := arm(tool.name, tool.how, seen[i])
		a.Failed = len(failed[i])
		c.Arms = append(c.Arms, a)
	}
}

// startSubject starts a server into which each of the tools can look.
func startSubject(ctx context.Context, b *bench) (*subject, error) {
	inside, err := filepath.Abs(filepath.Join(b.work, "inside"))
	if err != nil {
		return nil, err
	}
	code, err := filepath.Abs("e2e/bench/inside")
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(inside, 0o755); err != nil {
		return nil, err
	}
	s, err := startServer(ctx, b, []string{"PYTHONPATH=" + code, "BENCH_INSIDE_DIR=" + inside},
		"--profiler-config", fmt.Sprintf(`{"profiler":"torch","torch_profiler_dir":%q}`, inside))
	if err != nil {
		return nil, err
	}
	t := &subject{server: s, inside: inside}
	if t.enginePID, err = t.engine(); err != nil {
		s.stop()
		return nil, err
	}
	return t, nil
}

// with is one stretch with a tool at work.
func (t *subject) with(ctx context.Context, tool tool) (r round, err error) {
	l, err := tool.start(ctx, t)
	if err != nil {
		return r, err
	}
	r, err = t.watched(ctx, l)
	if serr := l.stop(); err == nil {
		err = serr
	}
	if err != nil {
		return r, err
	}
	return r, sleep(ctx, 500*time.Millisecond)
}

// watched is a stretch, and what the tool took of the processors in it.
func (t *subject) watched(ctx context.Context, l *looking) (r round, err error) {
	if err := sleep(ctx, 300*time.Millisecond); err != nil {
		return r, err
	}
	if l.pid == 0 {
		r.with, err = t.look(ctx)
		return r, err
	}
	before, err := process.CPU(l.pid)
	if err != nil {
		return r, err
	}
	began := time.Now()
	if r.with, err = t.look(ctx); err != nil {
		return r, err
	}
	after, err := process.CPU(l.pid)
	r.own = 100 * (after - before).Seconds() / time.Since(began).Seconds()
	return r, err
}

// look is one stretch, by the server's own counters.
func (t *subject) look(ctx context.Context) (stretch, error) {
	before, err := t.counts()
	if err != nil {
		return stretch{}, err
	}
	cpu, err := cpuOver(ctx, t.enginePID, stretchTime)
	if err != nil {
		return stretch{}, err
	}
	after, err := t.counts()
	if err == nil && after.steps <= before.steps {
		err = fmt.Errorf("the server made no step in %s", stretchTime)
	}
	return stretch{
		rate: (after.tokens - before.tokens) / after.at.Sub(before.at).Seconds(),
		tpot: (after.gapSum - before.gapSum) / (after.gaps - before.gaps),
		cpu:  cpu / (after.steps - before.steps),
	}, err
}

func between(a, b stretch) stretch {
	return stretch{rate: math.Sqrt(a.rate * b.rate), tpot: math.Sqrt(a.tpot * b.tpot), cpu: math.Sqrt(a.cpu * b.cpu)}
}

func arm(name, how string, seen []round) Arm {
	a := Arm{Tool: name, How: how}
	var tpot, rate, cpu, own []float64
	for _, r := range seen {
		tpot, rate, cpu = append(tpot, r.with.tpot/r.without.tpot), append(rate, r.with.rate/r.without.rate), append(cpu, r.with.cpu/r.without.cpu)
		own = append(own, r.own)
	}
	a.TPOT, a.Rate, a.CPU, a.Pairs = geometric(tpot), geometric(rate), geometric(cpu), tpot
	a.Own = estimate(own).Mean
	return a
}

// loadAverage is the machine's, over the last minute.
func loadAverage() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	one, _, _ := strings.Cut(string(b), " ")
	return one
}
