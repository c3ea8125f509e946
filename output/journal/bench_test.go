package journal

import (
	"io"
	"os"
	"testing"
	"time"

	"github.com/pmtrace/pmtrace/output/internal/traffic"
)

var shapes = []struct {
	name string
	traffic.Shape
}{{"decode32", traffic.Decode32}, {"chat32", traffic.Chat32},
	{"decode1", traffic.Shape{Seed: 1, Requests: 1, Prompt: 500, BlockSize: 16, StepNS: 5e6}},
	{"chat256", traffic.Shape{Seed: 1, Requests: 256, Output: 200, Prompt: 500, BlockSize: 16, StepNS: 40e6}}}

// capture returns the events of a server's steps, cut where the tracer flushes.
func capture(shape traffic.Shape, steps int) (seconds [][][]byte, requests, bytes int) {
	s := traffic.New(shape)
	perSecond := max(1, int(1e9/shape.StepNS))
	var events [][]byte
	s.Event = func(p []byte) {
		events = append(events, append([]byte(nil), p...))
		bytes += len(p)
	}
	for i := range steps {
		n, _ := s.Step()
		if i > 0 {
			requests += n
		}
		if i%perSecond == 0 {
			seconds = append(seconds, events)
			events = nil
		}
	}
	return append(seconds, events), requests, bytes
}

func BenchmarkWrite(b *testing.B) {
	for _, shape := range shapes {
		b.Run(shape.name, func(b *testing.B) {
			seconds, requests, bytes := capture(shape.Shape, 6000)
			b.SetBytes(int64(bytes))
			var size int64
			var cpu time.Duration
			for b.Loop() {
				began := traffic.CPU(b)
				w, err := Create(dirOf(b, b.TempDir()), Options{SyncEvery: -1})
				if err != nil {
					b.Fatal(err)
				}
				for _, events := range seconds {
					for _, e := range events {
						w.Append(KindEvent, e)
					}
					w.Flush()
				}
				cpu += traffic.CPU(b) - began
				size = w.Size()
				b.StopTimer()
				if err := w.Close(); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
			b.ReportMetric(float64(size)/float64(requests), "B/step-request")
			b.ReportMetric(float64(cpu.Nanoseconds())/float64(b.N)/float64(requests), "cpu-ns/step-request")
		})
	}
}

func BenchmarkRead(b *testing.B) {
	for _, shape := range shapes {
		b.Run(shape.name, func(b *testing.B) {
			seconds, _, bytes := capture(shape.Shape, 6000)
			dir := b.TempDir()
			w, err := Create(dirOf(b, dir), Options{SyncEvery: -1})
			if err != nil {
				b.Fatal(err)
			}
			records := 0
			for _, events := range seconds {
				for _, e := range events {
					w.Append(KindEvent, e)
					records++
				}
				w.Flush()
			}
			if err := w.Close(); err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(bytes))
			began := traffic.CPU(b)
			for b.Loop() {
				r, err := Open(os.DirFS(dir))
				if err != nil {
					b.Fatal(err)
				}
				n := 0
				for {
					if _, err := r.Next(); err == io.EOF {
						break
					}
					n++
				}
				if d, _ := r.Damage(); n != records || len(d) > 0 {
					b.Fatal(n, records, d)
				}
				r.Close()
			}
			cpu := (traffic.CPU(b) - began).Seconds() / float64(b.N)
			b.ReportMetric(float64(records)/cpu/1e6, "Mrecords/cpu-s")
			b.ReportMetric(float64(bytes)/cpu/1e6, "MB/cpu-s")
		})
	}
}

type tempDir struct{ root *os.Root }

func dirOf(t testing.TB, dir string) tempDir {
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return tempDir{root}
}

func (d tempDir) Create(name string) (*os.File, error) {
	return d.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
}

func (d tempDir) Remove(name string) error { return d.root.Remove(name) }
