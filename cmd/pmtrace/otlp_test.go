package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-quicktest/qt"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/live"
	"github.com/pmtrace/pmtrace/output/session"
)

// collector is OpenTelemetry's own receiver in a process of its own (e2e/collector).
type collector struct {
	grpc, http string // endpoints
	end        func() []received
}

// received is a line that it prints.
type received struct {
	Kind, Name, Unit    string
	Attributes          map[string]any
	Resource            map[string]any
	Value               float64
	Count               uint64
	Bounds              []float64
	Buckets             []uint64
	Trace, Span, Parent string
	Start, End          time.Time
}

func freeAddress(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	qt.Assert(t, qt.IsNil(err))
	defer l.Close()
	return l.Addr().String()
}

// buildCollector is once for all tests.
var buildCollector = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "pmtrace-collector")
	if err != nil {
		return "", err
	}
	program := filepath.Join(dir, "collector")
	out, err := exec.Command("go", "build", "-C", "../../e2e/collector", "-o", program, ".").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, out)
	}
	return program, err
})

func startCollector(t *testing.T) *collector {
	program, err := buildCollector()
	qt.Assert(t, qt.IsNil(err))
	grpc, http := freeAddress(t), freeAddress(t)
	cmd := exec.Command(program, "-grpc", grpc, "-http", http)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	qt.Assert(t, qt.IsNil(err))
	out, err := cmd.StdoutPipe()
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.IsNil(cmd.Start()))
	lines := bufio.NewReader(out)
	first, err := lines.ReadString('\n')
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.StringContains(first, "ready"))
	var list []received
	read := make(chan error, 1)
	go func() {
		d := json.NewDecoder(lines)
		for {
			var r received
			if err := d.Decode(&r); err != nil {
				read <- err
				return
			}
			list = append(list, r)
		}
	}()
	end := sync.OnceValue(func() []received {
		in.Close()
		if err := <-read; err != io.EOF {
			t.Error(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
		return list
	})
	t.Cleanup(func() { end() })
	return &collector{grpc: "grpc://" + grpc, http: "http://" + http, end: end}
}

// lastRound compares the newest metrics that came with a snapshot.
func lastRound(t *testing.T, list []received, want *live.Snapshot) {
	at := -1
	for i := range list {
		if list[i].Kind == "round" {
			at = i
		}
	}
	qt.Assert(t, qt.IsTrue(at >= 0))
	got := map[string]received{}
	for _, r := range list[at+1:] {
		if r.Kind == "sum" || r.Kind == "gauge" || r.Kind == "histogram" {
			got[r.Name+" "+fmt.Sprint(r.Attributes)] = r
		}
	}
	points := 0
	for _, f := range want.Families {
		for _, s := range f.Series {
			attributes := map[string]any{}
			for i, name := range f.Labels {
				if s.Labels[i] != "" {
					attributes[name] = s.Labels[i]
				}
			}
			key := f.Name + " " + fmt.Sprint(attributes)
			r, ok := got[key]
			if !qt.Check(t, qt.IsTrue(ok), qt.Commentf("%s", key)) {
				continue
			}
			points++
			qt.Check(t, qt.Equals(r.Unit, f.Unit))
			qt.Check(t, qt.Equals(r.Resource["service.name"], any("vllm")))
			qt.Check(t, qt.Equals(r.Resource["pmtrace.model"], any(want.Target.Model)))
			if f.Kind == live.Histogram {
				qt.Check(t, qt.Equals(r.Count, s.Count))
				qt.Check(t, qt.Equals(r.Value, s.Sum))
				qt.Check(t, qt.DeepEquals(r.Buckets, s.Buckets))
				qt.Check(t, qt.DeepEquals(r.Bounds, f.UpperBounds()))
			} else {
				qt.Check(t, qt.Equals(r.Value, s.Value), qt.Commentf("%s", key))
			}
		}
	}
	qt.Check(t, qt.IsTrue(points > 30))
}

// traces compares the spans that came with the tables of requests and preemptions.
func traces(t *testing.T, list []received, dir *session.Dir, start time.Time) (ids []string) {
	spans := map[string]map[string][]received{} // by trace and name
	roots := map[string]received{}              // by request
	for _, r := range list {
		if r.Kind != "span" {
			continue
		}
		if spans[r.Trace] == nil {
			spans[r.Trace] = map[string][]received{}
		}
		spans[r.Trace][r.Name] = append(spans[r.Trace][r.Name], r)
		if r.Parent == "" {
			qt.Check(t, qt.Equals(r.Name, "llm_request"))
			roots[fmt.Sprint(r.Attributes["pmtrace.request_uid"])] = r
		}
	}
	preempted := map[int64]int{}
	for p, err := range session.Rows[record.PreemptionRow](dir) {
		qt.Assert(t, qt.IsNil(err))
		preempted[p.RequestUID]++
	}
	at := func(ns *int64) time.Time { return start.Add(time.Duration(*ns)).UTC() }
	ended := 0
	for r, err := range session.Rows[record.RequestRow](dir) {
		qt.Assert(t, qt.IsNil(err))
		if r.FinishedNS == nil || r.ArrivalNS == nil {
			continue
		}
		ended++
		root, ok := roots[fmt.Sprint(r.RequestUID)]
		qt.Assert(t, qt.IsTrue(ok))
		ids = append(ids, root.Trace)
		qt.Check(t, qt.Equals(root.Start, at(r.ArrivalNS)))
		qt.Check(t, qt.Equals(root.End, at(r.FinishedNS)))
		qt.Check(t, qt.Equals(root.Attributes["gen_ai.request.id"], any(r.ExternalID)))
		number := func(name string, n *int32) {
			got, ok := root.Attributes[name]
			qt.Check(t, qt.Equals(ok, n != nil), qt.Commentf("%s", name))
			if n != nil {
				qt.Check(t, qt.Equals(got, any(float64(*n))), qt.Commentf("%s", name))
			}
		}
		number("gen_ai.usage.input_tokens", r.PromptTokens)
		number("gen_ai.usage.output_tokens", r.OutputTokens)
		number("gen_ai.usage.cache_read.input_tokens", r.CachedTokens)
		number("gen_ai.request.max_tokens", r.MaxTokens)
		if r.Reason != nil {
			qt.Check(t, qt.DeepEquals(root.Attributes["gen_ai.response.finish_reasons"], any([]any{*r.Reason})))
		}
		life := spans[root.Trace]
		part := func(name string, from, to *int64) {
			if from == nil || to == nil {
				qt.Check(t, qt.HasLen(life[name], 0))
				return
			}
			qt.Assert(t, qt.HasLen(life[name], 1), qt.Commentf("%s", name))
			qt.Check(t, qt.Equals(life[name][0].Start, at(from)))
			qt.Check(t, qt.Equals(life[name][0].End, at(to)))
			qt.Check(t, qt.Equals(life[name][0].Parent, root.Span))
		}
		part("queue", r.ArrivalNS, r.ScheduledNS)
		part("prefill", r.ScheduledNS, r.FirstTokNS)
		part("decode", r.FirstTokNS, r.FinishedNS)
		qt.Check(t, qt.HasLen(life["preempted"], preempted[r.RequestUID]))
	}
	qt.Check(t, qt.Equals(len(roots), ended))
	qt.Check(t, qt.Equals(len(spans), ended))
	return ids
}

// A session that is sent to a real collector is there as its tables have it, by gRPC and
// by HTTP, and with the same ids when it is sent again.
func TestExportOTLP(t *testing.T) {
	recordedSessions(t, func(t *testing.T, dir *session.Dir) {
		facts, want, err := totalsOf(dir)
		qt.Assert(t, qt.IsNil(err))
		var before []string
		for _, by := range []func(*collector) string{
			func(c *collector) string { return c.grpc }, func(c *collector) string { return c.http },
		} {
			c := startCollector(t)
			var errs bytes.Buffer
			code := run(t.Context(), []string{"export", "otlp", dir.Path(), "--endpoint", by(c)}, nil, io.Discard, &errs, nil)
			qt.Assert(t, qt.Equals(code, 0), qt.Commentf("%s", errs.String()))
			list := c.end()
			lastRound(t, list, want)
			ids := traces(t, list, dir, facts.Began())
			qt.Check(t, qt.StringContains(errs.String(), fmt.Sprintf("and %d requests sent to %s", len(ids), by(c))))
			slices.Sort(ids)
			qt.Check(t, qt.Equals(len(slices.Compact(slices.Clone(ids))), len(ids)))
			if before != nil {
				qt.Check(t, qt.DeepEquals(ids, before))
			}
			before = ids
		}
	})
}

// What --otlp has sent when a trace has ended is what its tables have.
func TestTraceOTLP(t *testing.T) {
	recordedSessions(t, func(t *testing.T, dir *session.Dir) {
		c := startCollector(t)
		m, stderr, to := traced(t, dir, monitorOptions{otlp: c.grpc})
		m.rest()
		list := c.end()
		facts, want, err := totalsOf(to)
		qt.Assert(t, qt.IsNil(err))
		want.Families = slices.DeleteFunc(want.Families, func(f live.Family) bool { return strings.HasPrefix(f.Name, "pmtrace.session.") })
		lastRound(t, list, want)
		ids := traces(t, list, to, facts.Began())
		qt.Check(t, qt.StringContains(stderr.String(), fmt.Sprintf("sent by OTLP: %d requests (0 dropped), ", len(ids))))
		qt.Check(t, qt.Equals(m.dropped(), ""))
	})
}

// An endpoint that is not there, or takes and never answers, holds nothing up: the tables
// are whole, and all that was not sent is counted.
func TestTraceOTLPWithoutEndpoint(t *testing.T) {
	mute, err := net.Listen("tcp", "127.0.0.1:0") // connects, and says nothing
	qt.Assert(t, qt.IsNil(err))
	defer mute.Close()
	dir, err := session.Open(decoded(t, pressure))
	qt.Assert(t, qt.IsNil(err))
	defer dir.Close()
	began := time.Now()
	traced(t, dir, monitorOptions{})
	alone := time.Since(began)
	for name, endpoint := range map[string]string{
		"nobody, gRPC": "grpc://" + freeAddress(t), "nobody, HTTP": "http://" + freeAddress(t),
		"mute, gRPC": "grpc://" + mute.Addr().String(), "mute, HTTP": "http://" + mute.Addr().String(),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			m, stderr, to := traced(t, dir, monitorOptions{otlp: endpoint})
			// To wait for each delivery would take half a minute more; four run at once.
			qt.Check(t, qt.IsTrue(time.Since(began) < 20*time.Second+4*alone), qt.Commentf("%v, and %v without", time.Since(began), alone))
			began = time.Now()
			m.rest()
			qt.Check(t, qt.IsTrue(time.Since(began) < restPatience+5*time.Second), qt.Commentf("%v", time.Since(began)))
			requests := int64(count[record.RequestRow](t, to))
			qt.Check(t, qt.Equals(requests, 748))
			stats := m.otlp.Stats()
			qt.Check(t, qt.Equals(stats[0].Sent, 0))
			qt.Check(t, qt.Equals(stats[0].Dropped, requests))
			qt.Check(t, qt.StringContains(m.dropped(), "748 requests"))
			// A slow machine has the time for more than one round of metrics.
			qt.Check(t, qt.Matches(stderr.String(), `(?s).*sent by OTLP: 0 requests \(748 dropped\), 0 metrics \([1-9]\d* dropped\)\n`))
		})
	}
}

// Steps are traces where that is asked for: each with what the scheduler and the GPU did.
func TestExportOTLPSteps(t *testing.T) {
	dir, err := session.Open(decoded(t, llama8b))
	qt.Assert(t, qt.IsNil(err))
	defer dir.Close()
	facts, err := session.ReadFacts(dir)
	qt.Assert(t, qt.IsNil(err))
	c := startCollector(t)
	var errs bytes.Buffer
	code := run(t.Context(), []string{"export", "otlp", dir.Path(), "--steps", "--endpoint", c.http}, nil, io.Discard, &errs, nil)
	qt.Assert(t, qt.Equals(code, 0), qt.Commentf("%s", errs.String()))
	exported := stepsOf(c.end())

	c = startCollector(t)
	m, _, _ := traced(t, dir, monitorOptions{otlp: c.grpc, otlpSteps: true})
	m.rest()
	qt.Check(t, qt.Equals(m.dropped(), ""))
	live := stepsOf(c.end())
	qt.Check(t, qt.Equals(len(live), len(exported)))

	rows := 0
	at := func(ns int64) time.Time { return facts.Began().Add(time.Duration(ns)).UTC() }
	for r, err := range session.Rows[record.StepRow](dir) {
		qt.Assert(t, qt.IsNil(err))
		if r.EndNS == nil {
			continue
		}
		rows++
		for _, got := range []map[string]received{exported[r.StepID], live[r.StepID]} {
			qt.Assert(t, qt.IsNotNil(got))
			qt.Check(t, qt.Equals(got["step"].Attributes["pmtrace.phase"], any(r.Phase)))
			qt.Check(t, qt.Equals(got["step"].Attributes["pmtrace.tokens"], any(float64(r.Tokens))))
			_, has := got["gpu"]
			qt.Check(t, qt.Equals(has, r.GPUStartNS != nil && r.GPUEndNS != nil))
			qt.Check(t, qt.Equals(got["schedule"].Parent, got["step"].Span))
		}
		got := exported[r.StepID]
		qt.Check(t, qt.Equals(got["step"].Start, at(r.StartNS)))
		qt.Check(t, qt.Equals(got["step"].End, at(*r.EndNS)))
		if r.GPUEndNS != nil {
			qt.Check(t, qt.Equals(got["gpu"].Start, at(*r.GPUStartNS)))
			qt.Check(t, qt.Equals(got["gpu"].End, at(*r.GPUEndNS)))
			qt.Check(t, qt.Equals(got["gpu"].Attributes["pmtrace.timing_source"], any(*r.GPUTimingSource)))
		}
	}
	qt.Check(t, qt.Equals(len(exported), rows))
	qt.Check(t, qt.StringContains(errs.String(), fmt.Sprintf("; %d steps\n", rows)))
}

// stepsOf are the spans of steps by the step's number and their names.
func stepsOf(list []received) map[int64]map[string]received {
	numbers := map[string]int64{}
	for _, r := range list {
		if r.Kind == "span" && r.Name == "step" {
			id, _ := r.Attributes["pmtrace.step_id"].(float64)
			numbers[r.Trace] = int64(id)
		}
	}
	steps := map[int64]map[string]received{}
	for _, r := range list {
		id, ok := numbers[r.Trace]
		if r.Kind != "span" || !ok {
			continue
		}
		if steps[id] == nil {
			steps[id] = map[string]received{}
		}
		steps[id][r.Name] = r
	}
	return steps
}

// An endpoint that takes nothing is said, with what, why and what to do.
func TestExportOTLPFails(t *testing.T) {
	place := decoded(t, "testdata/recorded/h200-record")
	address := freeAddress(t)
	for endpoint, want := range map[string]string{
		"grpc://" + address: "cannot send to grpc://" + address + " (0 requests were sent): Error while dialing: dial tcp " + address + ": connect: connection refused; see that",
		"ftp://x":           "--endpoint: want a URL that begins with grpc://",
		"":                  "export otlp wants to know where to",
	} {
		var errs bytes.Buffer
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		code := run(ctx, []string{"export", "otlp", place, "--endpoint", endpoint}, nil, io.Discard, &errs, nil)
		cancel()
		qt.Check(t, qt.Not(qt.Equals(code, 0)))
		qt.Check(t, qt.StringContains(errs.String(), want))
		qt.Check(t, qt.Equals(strings.Count(errs.String(), "\n"), 1))
	}
}
