package report

import (
	"os"
	"testing"
	"time"

	"github.com/pmtrace/pmtrace/output/internal/traffic"
	"github.com/pmtrace/pmtrace/output/session"
)

// BenchmarkSlowest finds the ten slowest requests of five minutes of 32 clients.
func BenchmarkSlowest(b *testing.B) {
	const steps = 30000
	dir, err := session.Create(b.TempDir(), time.Now(), session.Owner{UID: os.Geteuid(), GID: os.Getegid()})
	if err != nil {
		b.Fatal(err)
	}
	defer dir.Close()
	tables, err := session.CreateTables(dir, session.About{})
	if err != nil {
		b.Fatal(err)
	}
	s := traffic.New(traffic.Chat32)
	s.Rows = tables
	for range steps {
		if _, err := s.Step(); err != nil {
			b.Fatal(err)
		}
	}
	if err := tables.Close(); err != nil {
		b.Fatal(err)
	}
	began := traffic.CPU(b)
	for b.Loop() {
		if _, _, err := Slowest(dir, ByTotal, 10, nil); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64((traffic.CPU(b)-began).Nanoseconds())/float64(b.N)/steps, "cpu-ns/step")
}
