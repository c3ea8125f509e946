package main

import (
	"context"
	"fmt"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/pmtrace/pmtrace/decode/wire"
	"github.com/pmtrace/pmtrace/probes"
	"github.com/pmtrace/pmtrace/probes/vllm"
)

// StepCost is what BPF takes of the watched thread in a step.
type StepCost struct {
	Where    string    `json:"where"` // shape, server
	Requests int       `json:"requests"`
	Steps    int       `json:"steps"`
	HitsStep float64   `json:"hits_per_step"`
	USStep   float64   `json:"bpf_us_per_step"`
	Programs []Program `json:"programs"`
}

// Program is one of the programs' part in it.
type Program struct {
	Watch    string  `json:"watch"`
	HitsStep float64 `json:"hits_per_step"`
	NSHit    float64 `json:"ns_per_hit"`
	USStep   float64 `json:"us_per_step"`
}

func measureStep(ctx context.Context, b *bench, s *server) error {
	b.results.Step = nil
	for _, requests := range []int{1, 4, 16, 64, 256, 1024} {
		c, err := shapeStep(ctx, b, requests)
		if err != nil {
			return fmt.Errorf("%d requests: %w", requests, err)
		}
		b.results.Step = append(b.results.Step, c)
	}
	return nil
}

// measureServedStep measures on the real server.
func measureServedStep(ctx context.Context, b *bench, s *server) error {
	stop, err := s.load(ctx)
	if err != nil {
		return err
	}
	defer stop()
	pid, err := s.engine()
	if err != nil {
		return err
	}
	c, err := stepCost(pid, func() error { return sleep(ctx, pick(b, 15*time.Second, 3*time.Second)) })
	c.Where, c.Requests = "server", serverRequests
	b.results.Step = append(b.results.Step, c)
	return err
}

// shapeStep measures at a pace that leaves caches as cold as a server's.
func shapeStep(ctx context.Context, b *bench, requests int) (StepCost, error) {
	s, err := startShape(ctx, b, requests, 100)
	if err != nil {
		return StepCost{}, err
	}
	defer s.stop()
	c, err := stepCost(s.pid, func() error {
		if err := s.begin(); err != nil {
			return err
		}
		return sleep(ctx, pick(b, 20*time.Second, 3*time.Second))
	})
	c.Where, c.Requests = "shape", requests
	return c, err
}

// stepCost traces a process while it does what it does.
func stepCost(pid int, while func() error) (c StepCost, err error) {
	stats, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	if err != nil {
		return c, fmt.Errorf("the kernel's BPF statistics: %w", err)
	}
	defer stats.Close()
	tracer, err := probes.New(probes.Options{})
	if err != nil {
		return c, err
	}
	defer tracer.Close()
	engine, err := vllm.Find(pid, vllm.Options{})
	if err != nil {
		return c, err
	}
	index, _, err := tracer.Attach(engine)
	if err != nil {
		return c, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		ended <- tracer.Run(ctx, func(event []byte) error {
			var h wire.Header
			if h.Read(event) == nil && h.Kind == wire.KindStep {
				c.Steps++
			}
			return nil
		}, func() error { return nil })
	}()
	err = while()
	if derr := tracer.Detach(index); err == nil {
		err = derr
	}
	cancel()
	if rerr := <-ended; err == nil {
		err = rerr
	}
	if err != nil {
		return c, err
	}
	costs, err := tracer.Cost()
	if err == nil && c.Steps == 0 {
		err = fmt.Errorf("no steps were seen")
	}
	if err != nil {
		return c, err
	}
	c.add(costs)
	return c, nil
}

func (c *StepCost) add(costs []probes.Cost) {
	steps := float64(c.Steps)
	for _, p := range costs {
		us := float64(p.Time.Nanoseconds()) / 1e3
		c.Programs = append(c.Programs, Program{
			Watch: string(p.Watch), HitsStep: float64(p.Runs) / steps,
			NSHit: us * 1e3 / float64(max(p.Runs, 1)), USStep: us / steps,
		})
		c.HitsStep += float64(p.Runs) / steps
		c.USStep += us / steps
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
