package main

import (
	"context"
	"math/rand/v2"
	"time"
)

// Paired compares what a program does with and without pmtrace: each pair is
// two stretches, one after the other, in random order.
type Paired struct {
	Where    string  `json:"where"` // shape, server
	Requests int     `json:"requests"`
	Seconds  float64 `json:"seconds_each"`
	Without  float64 `json:"without_per_s"` // mean: tokens/s, steps/s
	// Ratios of with to without.
	Rate Estimate  `json:"rate_ratio"`
	TPOT *Estimate `json:"tpot_ratio,omitempty"`
	// AddedUS is what a step takes longer: traps, programs, context switches.
	AddedUS *Estimate `json:"added_us_per_step,omitempty"`
}

// stretch is what was seen in one: rate is tokens or steps a second.
type stretch struct{ rate, tpot float64 }

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

func compare(with, without []stretch, of func(stretch) float64, what func(with, without float64) float64) Estimate {
	var values []float64
	for i := range with {
		values = append(values, what(of(with[i]), of(without[i])))
	}
	return estimate(values)
}

func rateOf(s stretch) float64          { return s.rate }
func ratio(with, w float64) float64     { return with / w }
func second(_, without float64) float64 { return without }

func measureServer(ctx context.Context, b *bench, s *server) error {
	stop, err := s.load(ctx)
	if err != nil {
		return err
	}
	defer stop()
	each := pick(b, 6*time.Second, 2*time.Second)
	with, without, err := b.pairs(ctx, s.pid, pick(b, 16, 3), func() (stretch, error) {
		before, err := s.counts()
		if err != nil {
			return stretch{}, err
		}
		if err := sleep(ctx, each); err != nil {
			return stretch{}, err
		}
		after, err := s.counts()
		return stretch{
			rate: (after.tokens - before.tokens) / after.at.Sub(before.at).Seconds(),
			tpot: (after.gapSum - before.gapSum) / (after.gaps - before.gaps),
		}, err
	})
	if err != nil {
		return err
	}
	tpot := compare(with, without, func(s stretch) float64 { return s.tpot }, ratio)
	b.results.Server = &Paired{
		Where: "server", Requests: serverRequests, Seconds: each.Seconds(), Rate: compare(with, without, rateOf, ratio),
		Without: compare(with, without, rateOf, second).Mean, TPOT: &tpot,
	}
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
	with, without, err := b.pairs(ctx, s.pid, pick(b, 12, 3), func() (stretch, error) {
		began, steps := time.Now(), s.steps()
		err := sleep(ctx, each)
		return stretch{rate: (s.steps() - steps) / time.Since(began).Seconds()}, err
	})
	if err != nil {
		return err
	}
	added := compare(with, without, rateOf, func(with, without float64) float64 { return 1e6/with - 1e6/without })
	b.results.Worst = &Paired{
		Where: "shape", Requests: batch, Seconds: each.Seconds(), Rate: compare(with, without, rateOf, ratio),
		Without: compare(with, without, rateOf, second).Mean, AddedUS: &added,
	}
	return nil
}
