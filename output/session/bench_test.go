package session

import (
	"io/fs"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/internal/traffic"
)

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

// rssAnon is the process's anonymous memory in MiB.
func rssAnon(t testing.TB) float64 {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			kb, _ := strconv.Atoi(strings.Fields(rest)[0])
			return float64(kb) / 1024
		}
	}
	return 0
}

// BenchmarkTables writes ten minutes of a server's rows, and says what they
// cost by request in a step: bytes of all tables, bytes of step_requests alone.
func BenchmarkTables(b *testing.B) {
	for _, shape := range []struct {
		name string
		traffic.Shape
	}{{"decode32", traffic.Decode32}, {"chat32", traffic.Chat32}} {
		b.Run(shape.name, func(b *testing.B) {
			const steps = 30000
			var bytes map[string]int64
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
				bytes = sizes(b, d)
			}
			total := int64(0)
			for _, size := range bytes {
				total += size
			}
			b.ReportMetric(float64(total)/float64(n), "B/step-request")
			b.ReportMetric(float64(bytes[TableStepRequests])/float64(n), "B/row")
			b.ReportMetric(rssAnon(b), "MiB-anon")
		})
	}
}

// collect keeps rows of step_requests.
type collect struct {
	record.Sink
	rows []record.StepRequestRow
}

func (c *collect) StepRequest(r *record.StepRequestRow) error {
	c.rows = append(c.rows, *r)
	return nil
}

func (c *collect) Step(*record.StepRow) error                 { return nil }
func (c *collect) Request(*record.RequestRow) error           { return nil }
func (c *collect) KVUsage(*record.KVUsageRow) error           { return nil }
func (c *collect) KVBlock(*record.KVBlockRow) error           { return nil }
func (c *collect) KVEviction(*record.KVEvictionRow) error     { return nil }
func (c *collect) CPUOperation(*record.CPUOperationRow) error { return nil }

// BenchmarkStepRequests is the cost of a row of the largest table.
func BenchmarkStepRequests(b *testing.B) {
	const rounds = 10
	rows := &collect{}
	s := traffic.New(traffic.Chat32)
	s.Rows = rows
	for range 1000 { // few, so that the collector has little to do with them
		if _, err := s.Step(); err != nil {
			b.Fatal(err)
		}
	}
	began := traffic.CPU(b)
	for b.Loop() {
		d := newSession(b)
		tables, err := CreateTables(d, About{})
		if err != nil {
			b.Fatal(err)
		}
		for range rounds {
			for i := range rows.rows {
				if err := tables.StepRequest(&rows.rows[i]); err != nil {
					b.Fatal(err)
				}
			}
		}
		if err := tables.Close(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64((traffic.CPU(b)-began).Nanoseconds())/float64(b.N)/float64(rounds*len(rows.rows)), "cpu-ns/row")
}

// BenchmarkRead is the rate at which rows come back.
func BenchmarkRead(b *testing.B) {
	d, _ := traced(b, traffic.Chat32, 10000, nil)
	n := 0
	began := traffic.CPU(b)
	for b.Loop() {
		for _, err := range Rows[record.StepRequestRow](d) {
			if err != nil {
				b.Fatal(err)
			}
			n++
		}
	}
	b.ReportMetric(float64((traffic.CPU(b)-began).Nanoseconds())/float64(n), "cpu-ns/row")
}

// BenchmarkFiles makes profilemate's files and the summary.
func BenchmarkFiles(b *testing.B) {
	d, facts := traced(b, traffic.Chat32, 30000, nil)
	began := traffic.CPU(b)
	for b.Loop() {
		if _, err := WriteFiles(d, facts, true); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64((traffic.CPU(b)-began).Nanoseconds())/float64(b.N)/30000, "cpu-ns/step")
	b.ReportMetric(rssAnon(b), "MiB-anon")
}
