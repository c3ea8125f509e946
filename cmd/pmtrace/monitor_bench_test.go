package main

import (
	"bytes"
	"log/slog"
	"testing"
	"time"

	"github.com/go-quicktest/qt"
	"golang.org/x/sys/unix"

	"github.com/pmtrace/pmtrace/output/live"
	"github.com/pmtrace/pmtrace/output/otlp"
	"github.com/pmtrace/pmtrace/output/session"
)

// What a step of a real session costs the pipeline, without and with those who listen.
func BenchmarkListeners(b *testing.B) {
	place := decoded(b, llama8b)
	dir, err := session.Open(place)
	qt.Assert(b, qt.IsNil(err))
	defer dir.Close()
	var kinds []byte
	var payloads [][]byte
	records(b, dir, func(kind byte, payload []byte) {
		kinds, payloads = append(kinds, kind), append(payloads, bytes.Clone(payload))
	})
	endpoint, err := otlp.ParseEndpoint("grpc://127.0.0.1:1")
	qt.Assert(b, qt.IsNil(err))
	for name, also := range map[string]func() []listener{
		"tables alone": func() []listener { return nil },
		"prometheus":   func() []listener { return []listener{live.NewTotals()} },
		"prometheus+otlp": func() []listener {
			totals := live.NewTotals()
			x, err := otlp.Start(otlp.Options{Endpoint: endpoint, Snapshot: totals.Snapshot, Now: time.Now})
			qt.Assert(b, qt.IsNil(err))
			return []listener{totals, x.Listener()}
		},
	} {
		b.Run(name, func(b *testing.B) {
			steps, used := int64(0), time.Duration(0)
			for b.Loop() {
				b.StopTimer()
				to, err := session.Create(b.TempDir(), time.Now(), session.Owner{})
				qt.Assert(b, qt.IsNil(err))
				kept := &realSession{dir: to}
				pipe, err := kept.Tables(startOf(kinds[0], payloads[0], "x"), false, also(), slog.New(slog.DiscardHandler))
				qt.Assert(b, qt.IsNil(err))
				b.StartTimer()
				before := processorTime()
				for i := range kinds {
					qt.Assert(b, qt.IsNil(pipe.Record(kinds[i], payloads[i])))
				}
				qt.Assert(b, qt.IsNil(pipe.Close()))
				used += processorTime() - before
				steps += pipe.Live().steps
				to.Close()
			}
			b.ReportMetric(float64(used.Nanoseconds())/float64(steps), "cpu-ns/step")
		})
	}
}

func processorTime() time.Duration {
	var use unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &use)
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
}
