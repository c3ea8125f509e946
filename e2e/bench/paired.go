package main

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/pmtrace/pmtrace/e2e/process"
)

// Paired compares what a program does with and without pmtrace: each pair is
// two stretches, one after the other, in random order.
type Paired struct {
	Where    string  `json:"where"` // shape, server
	Requests int     `json:"requests"`
	Seconds  float64 `json:"seconds_each"`
	Without  float64 `json:"without_per_s"` // mean: tokens/s, steps/s
	// Ratios of with to without.
	Rate Estimate `json:"rate_ratio"`
	TPOT Estimate `json:"tpot_ratio"`
	// What a step takes of the processor: in the engine's process.
	CPU     Estimate `json:"cpu_per_step_ratio"`
	CPUStep float64  `json:"without_cpu_us_per_step"`
	// Difference: traps, programs and debug registers at context switches.
	AddedUS Estimate `json:"added_cpu_us_per_step"`
}

// stretch is what was seen in one: tokens or steps a second, time between
// tokens, processor time in µs a step.
type stretch struct{ rate, tpot, cpu float64 }

// pairs runs n pairs; pid is attached to for half of the stretches.
func (b *bench) pairs(ctx context.Context, pid, n int, look func() (stretch, error)) (with, without []stretch, err error) {
	const settle = 500 * time.Millisecond
	order := rand.New(rand.NewPCG(1, 2))
	for i := range n {
		first := order.IntN(2) == 0
		for _, traced := range []bool{first, !first} {
			var t *tracer
			if traced {
				if t, err = attach(ctx, b, pid); err != nil {
					return nil, nil, err
				}
			}
			if err := sleep(ctx, settle); err != nil {
				return nil, nil, err
			}
			s, err := look()
			if err != nil {
				return nil, nil, err
			}
			if !traced {
				without = append(without, s)
				continue
			}
			with = append(with, s)
			if err := t.stop(); err != nil {
				return nil, nil, err
			}
		}
		b.say("  pair %d: %.1f with, %.1f without", i+1, with[i].rate, without[i].rate)
	}
	return with, without, nil
}

// paired sums up.
func paired(where string, requests int, each time.Duration, with, without []stretch) *Paired {
	of := func(what func(with, without stretch) float64) Estimate {
		var values []float64
		for i := range with {
			values = append(values, what(with[i], without[i]))
		}
		return estimate(values)
	}
	return &Paired{
		Where: where, Requests: requests, Seconds: each.Seconds(),
		Without: of(func(_, w stretch) float64 { return w.rate }).Mean,
		Rate:    of(func(t, w stretch) float64 { return t.rate / w.rate }),
		TPOT:    of(func(t, w stretch) float64 { return t.tpot / w.tpot }),
		CPU:     of(func(t, w stretch) float64 { return t.cpu / w.cpu }),
		CPUStep: of(func(_, w stretch) float64 { return w.cpu }).Mean,
		AddedUS: of(func(t, w stretch) float64 { return t.cpu - w.cpu }),
	}
}

func measureServer(ctx context.Context, b *bench, s *server) error {
	stop, err := s.load(ctx)
	if err != nil {
		return err
	}
	defer stop()
	engine, err := s.engine()
	if err != nil {
		return err
	}
	each := pick(b, 6*time.Second, 2*time.Second)
	with, without, err := b.pairs(ctx, s.pid, pick(b, 24, 3), func() (stretch, error) {
		before, err := s.counts()
		if err != nil {
			return stretch{}, err
		}
		cpu, err := cpuOver(ctx, engine, each)
		if err != nil {
			return stretch{}, err
		}
		after, err := s.counts()
		return stretch{
			rate: (after.tokens - before.tokens) / after.at.Sub(before.at).Seconds(),
			tpot: (after.gapSum - before.gapSum) / (after.gaps - before.gaps),
			cpu:  cpu / (after.steps - before.steps),
		}, err
	})
	if err != nil {
		return err
	}
	b.results.Server = paired("server", serverRequests, each, with, without)
	return nil
}

func measureWorst(ctx context.Context, b *bench, _ *server) error {
	s, err := startShape(ctx, b, batch, 0)
	if err != nil {
		return err
	}
	defer s.stop()
	each := pick(b, 3*time.Second, time.Second)
	if err := s.begin(); err != nil {
		return err
	}
	with, without, err := b.pairs(ctx, s.pid, pick(b, 16, 3), func() (stretch, error) {
		began, before := time.Now(), s.steps()
		cpu, err := cpuOver(ctx, s.pid, each)
		steps, took := s.steps()-before, time.Since(began).Seconds()
		return stretch{rate: steps / took, tpot: took / steps, cpu: cpu / steps}, err
	})
	if err != nil {
		return err
	}
	b.results.Worst = paired("shape", batch, each, with, without)
	return nil
}

// cpuOver is what a process takes of the processors in a time, in µs.
func cpuOver(ctx context.Context, pid int, d time.Duration) (float64, error) {
	before, err := process.CPU(pid)
	if err != nil {
		return 0, err
	}
	if err := sleep(ctx, d); err != nil {
		return 0, err
	}
	after, err := process.CPU(pid)
	return float64((after - before).Nanoseconds()) / 1e3, err
}
