package session

import (
	"io/fs"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/pmtrace/pmtrace/output/internal/traffic"
)

// rowsOf returns the rows that a server's steps make.
func newSession(t testing.TB) *Dir {
	d, err := Create(t.TempDir(), time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Owner{os.Geteuid(), os.Getegid()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func sizes(t testing.TB, d *Dir) map[string]int64 {
	m := map[string]int64{}
	err := fs.WalkDir(d.FS(), "parquet", func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			i, _ := e.Info()
			m[strings.Split(path, "/")[1]] += i.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func BenchmarkTables(b *testing.B) {
	for _, shape := range []struct {
		name string
		traffic.Shape
	}{{"decode32", traffic.Decode32}, {"chat32", traffic.Chat32}} {
		b.Run(shape.name, func(b *testing.B) {
			const steps = 30000
			var last map[string]int64
			n := 0
			for b.Loop() {
				d := newSession(b)
				tables, err := CreateTables(d, About{SessionID: d.Name()})
				if err != nil {
					b.Fatal(err)
				}
				s := traffic.New(shape.Shape)
				s.Rows = tables
				n = 0
				for range steps {
					k, err := s.Step()
					if err != nil {
						b.Fatal(err)
					}
					n += k
				}
				if err := tables.Close(); err != nil {
					b.Fatal(err)
				}
				last = sizes(b, d)
			}
			total := int64(0)
			for name, size := range last {
				b.Log(name, size, float64(size)/float64(n))
				total += size
			}
			b.ReportMetric(float64(total)/float64(n), "B/step-request")
			b.ReportMetric(float64(last[TableStepRequests])/float64(n), "B/row")
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/step-request")
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			b.Log("sys", m.Sys>>20, "heap", m.HeapSys>>20)
		})
	}
}
