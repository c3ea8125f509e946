package main

import (
	"bytes"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-quicktest/qt"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/pmtrace/pmtrace/output/journal"
	"github.com/pmtrace/pmtrace/output/live"
	"github.com/pmtrace/pmtrace/output/session"
)

// exposed compares what Prometheus is given with a snapshot, series by series.
func exposed(t *testing.T, text []byte, want *live.Snapshot) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	qt.Assert(t, qt.IsNil(err))
	series := 0
	for _, f := range want.Families {
		if len(f.Series) == 0 {
			continue
		}
		got := families[f.Prometheus()]
		qt.Assert(t, qt.IsNotNil(got), qt.Commentf("%s", f.Prometheus()))
		qt.Check(t, qt.Equals(got.GetHelp(), f.Help))
		qt.Check(t, qt.HasLen(got.GetMetric(), len(f.Series)))
		for _, s := range f.Series {
			i := slices.IndexFunc(got.GetMetric(), func(m *dto.Metric) bool { return labelled(m, f.Labels, s.Labels) })
			qt.Assert(t, qt.IsTrue(i >= 0), qt.Commentf("%s %v", f.Name, s.Labels))
			m := got.GetMetric()[i]
			series++
			switch f.Kind {
			case live.Counter:
				qt.Check(t, qt.Equals(m.GetCounter().GetValue(), s.Value))
			case live.Gauge:
				qt.Check(t, qt.Equals(m.GetGauge().GetValue(), s.Value))
			case live.Histogram:
				h := m.GetHistogram()
				qt.Check(t, qt.Equals(h.GetSampleCount(), s.Count))
				qt.Check(t, qt.Equals(h.GetSampleSum(), s.Sum))
				sum := uint64(0)
				for i, bound := range f.UpperBounds() {
					sum += s.Buckets[i]
					qt.Check(t, qt.Equals(h.GetBucket()[i].GetUpperBound(), bound))
					qt.Check(t, qt.Equals(h.GetBucket()[i].GetCumulativeCount(), sum))
				}
			}
		}
	}
	qt.Check(t, qt.IsTrue(series > 30))
	target := families["pmtrace_target_info"].GetMetric()[0]
	qt.Check(t, qt.IsTrue(slices.ContainsFunc(target.GetLabel(), func(l *dto.LabelPair) bool {
		return l.GetName() == "model" && l.GetValue() == want.Target.Model && want.Target.Model != ""
	})))
	// No label is a request's.
	for _, f := range families {
		qt.Check(t, qt.IsTrue(len(f.GetMetric()) < 64), qt.Commentf("%s", f.GetName()))
	}
}

// labelled reports whether a metric has labels' values; Prometheus leaves empty ones away.
func labelled(m *dto.Metric, names, values []string) bool {
	got := map[string]string{}
	for _, l := range m.GetLabel() {
		got[l.GetName()] = l.GetValue()
	}
	for i, name := range names {
		if got[name] != values[i] {
			return false
		}
	}
	return true
}

// wellNamed asks the rules that promtool has, and promtool itself where it is.
func wellNamed(t *testing.T, text []byte) {
	problems, err := promlint.New(bytes.NewReader(text)).Lint()
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.HasLen(problems, 0))
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Log("there is no promtool here: its rules were asked by promlint alone")
		return
	}
	c := exec.CommandContext(t.Context(), promtool, "check", "metrics")
	c.Stdin = bytes.NewReader(text)
	out, err := c.CombinedOutput()
	qt.Check(t, qt.IsNil(err), qt.Commentf("%s", out))
	qt.Check(t, qt.Equals(string(out), ""))
}

func TestExportPrometheus(t *testing.T) {
	recordedSessions(t, func(t *testing.T, dir *session.Dir) {
		_, want, err := totalsOf(dir)
		qt.Assert(t, qt.IsNil(err))
		var out, errs bytes.Buffer
		code := run(t.Context(), []string{"export", "prometheus", dir.Path()}, nil, &out, &errs, nil)
		qt.Assert(t, qt.Equals(code, 0), qt.Commentf("%s", errs.String()))
		wellNamed(t, out.Bytes())
		exposed(t, out.Bytes(), want)

		file := filepath.Join(t.TempDir(), "metrics.txt")
		code = run(t.Context(), []string{"export", "prometheus", "--format", "openmetrics", "-o", file, dir.Path()}, nil, &out, &errs, nil)
		qt.Assert(t, qt.Equals(code, 0), qt.Commentf("%s", errs.String()))
		b, err := os.ReadFile(file)
		qt.Assert(t, qt.IsNil(err))
		qt.Check(t, qt.IsTrue(strings.HasSuffix(string(b), "# EOF\n")))
	})
}

// traced replays a recorded session as if it were traced now, with a monitor beside.
func traced(t *testing.T, from *session.Dir, o monitorOptions) (m *monitor, stderr *lockedBuffer, to *session.Dir) {
	qt.Assert(t, qt.IsNil(o.resolve()))
	stderr = &lockedBuffer{}
	tr := &trace{
		app:  &app{stderr: stderr, world: &world{now: time.Now, monotonic: monotonic}},
		opts: &traceOptions{monitorOptions: o}, log: slog.New(slog.DiscardHandler), status: newStatus(io.Discard, "", false, 0),
	}
	m, err := newMonitor(tr)
	qt.Assert(t, qt.IsNil(err))
	t.Cleanup(m.close)
	to, err = session.Create(t.TempDir(), time.Now(), session.Owner{})
	qt.Assert(t, qt.IsNil(err))
	t.Cleanup(func() { to.Close() })
	kept := &realSession{dir: to}
	var pipe pipeline
	records(t, from, func(kind byte, payload []byte) {
		if pipe == nil {
			pipe, err = kept.Tables(startOf(kind, payload, from.Name()), false, m.listeners(), tr.log)
			qt.Assert(t, qt.IsNil(err))
		}
		qt.Assert(t, qt.IsNil(pipe.Record(kind, payload)))
		if kind == journal.KindFact {
			m.second(pipe.Live())
		}
	})
	qt.Assert(t, qt.IsNil(pipe.Close()))
	m.second(pipe.Live())
	_, err = kept.Finish(false)
	qt.Assert(t, qt.IsNil(err))
	return m, stderr, to
}

func scrape(t *testing.T, url string) []byte {
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	qt.Assert(t, qt.IsNil(err))
	resp, err := http.DefaultClient.Do(req)
	qt.Assert(t, qt.IsNil(err))
	defer resp.Body.Close()
	qt.Assert(t, qt.Equals(resp.StatusCode, http.StatusOK))
	b, err := io.ReadAll(resp.Body)
	qt.Assert(t, qt.IsNil(err))
	return b
}

// What is scraped at the end of a trace is what its tables give.
func TestServePrometheus(t *testing.T) {
	recordedSessions(t, func(t *testing.T, dir *session.Dir) {
		m, stderr, to := traced(t, dir, monitorOptions{prometheus: ":0"})
		_, url, ok := strings.Cut(strings.TrimSpace(stderr.String()), "metrics at ")
		qt.Assert(t, qt.IsTrue(ok))
		qt.Check(t, qt.StringContains(url, "http://127.0.0.1:"))
		text := scrape(t, url)
		wellNamed(t, text)
		_, want, err := totalsOf(to)
		qt.Assert(t, qt.IsNil(err))
		// How long it took, and what else only the trace knows.
		want.Families = slices.DeleteFunc(want.Families, func(f live.Family) bool { return strings.HasPrefix(f.Name, "pmtrace.session.") })
		exposed(t, text, want)
		qt.Check(t, qt.StringContains(string(text), "\nprocess_cpu_seconds_total "))
		m.close()
		_, err = http.Get(url)
		qt.Check(t, qt.IsNotNil(err))
	})
}

func TestListenAddress(t *testing.T) {
	for s, want := range map[string]string{
		":9464": "127.0.0.1:9464", "9464": "127.0.0.1:9464", "0.0.0.0:9464": "0.0.0.0:9464", "[::]:1": "[::]:1", "host:80": "host:80",
	} {
		got, err := listenAddress(s)
		qt.Check(t, qt.IsNil(err))
		qt.Check(t, qt.Equals(got, want))
	}
	for _, s := range []string{"", "host", "host:", ":x", ":70000", "a:b:c"} {
		_, err := listenAddress(s)
		qt.Check(t, qt.IsNotNil(err), qt.Commentf("%q", s))
	}
}

// An address that is taken is said before anything is begun.
func TestPrometheusAddressTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	qt.Assert(t, qt.IsNil(err))
	defer l.Close()
	pid, _ := startServer(t)
	b := newBench(t)
	qt.Check(t, qt.Equals(b.attachTo(t, pid, "--prometheus", l.Addr().String()), exitFailed))
	qt.Check(t, qt.StringContains(b.err.String(), "--prometheus: cannot listen on "+l.Addr().String()+": address already in use; choose another address\n"))
	qt.Check(t, qt.HasLen(b.session.kinds, 0))

	b = newBench(t)
	qt.Check(t, qt.Equals(b.attachTo(t, pid, "--otlp", "localhost:4317"), exitUsage))
	qt.Check(t, qt.StringContains(b.err.String(), "--otlp: want a URL that begins with grpc://"))
}
