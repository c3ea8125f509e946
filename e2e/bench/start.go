package main

import (
	"context"
	"slices"
	"time"
)

// Start is how long attaching to a real server takes.
type Start struct {
	Runs   int     `json:"runs"`
	Median float64 `json:"median_s"`
	Max    float64 `json:"max_s"`
}

func measureAttach(ctx context.Context, b *bench, s *server) error {
	stop, err := s.load(ctx)
	if err != nil {
		return err
	}
	defer stop()
	var took []float64
	for range pick(b, 10, 3) {
		t, err := attach(ctx, b, s.pid)
		if err != nil {
			return err
		}
		took = append(took, t.armedIn.Seconds())
		if err := sleep(ctx, 500*time.Millisecond); err != nil {
			return err
		}
		if err := t.stop(); err != nil {
			return err
		}
	}
	b.results.Attach = &Start{Runs: len(took), Median: median(took), Max: slices.Max(took)}
	return nil
}
