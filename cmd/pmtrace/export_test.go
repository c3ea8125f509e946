package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/go-quicktest/qt"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/session"
)

// python is the Python that a script of e2e/setup prepares.
func python(t *testing.T, script string) string {
	if os.Getenv("PMTRACE_TEST_SKIP_ANALYSIS") != "" {
		t.Skip("PMTRACE_TEST_SKIP_ANALYSIS")
	}
	out, err := exec.Command("../../e2e/setup/" + script).Output()
	qt.Assert(t, qt.IsNil(err))
	return strings.TrimSpace(string(out))
}

func output(t *testing.T, dir string, argv ...string) []byte {
	c := exec.Command(argv[0], argv[1:]...)
	c.Dir = dir
	out, err := c.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		t.Fatalf("%v\n%s", err, exit.Stderr)
	}
	qt.Assert(t, qt.IsNil(err))
	return out
}

// pmtrace runs the command and returns what it says.
func pmtrace(t *testing.T, args ...string) string {
	var stderr strings.Builder
	code := run(t.Context(), args, nil, io.Discard, &stderr, nil)
	qt.Assert(t, qt.Equals(code, 0), qt.Commentf("%s", stderr.String()))
	return stderr.String()
}

// slice is one of a trace, at a time of the session.
type slice struct{ At, Dur int64 }

// traceOf is what output/render/testdata/check.py reads.
type traceOf struct {
	Errors map[string]int
	Clocks map[string]int64
	Tree   map[string]struct{ Slices, Instants int }
	Rows   []struct {
		At  string
		TS  int64
		Dur *int64
	}
}

func (o traceOf) slices(path string) (list []slice) {
	for _, r := range o.Rows {
		if r.At == path && r.Dur != nil {
			list = append(list, slice{r.TS - o.Clocks["BUILTIN_CLOCK_MONOTONIC"], *r.Dur})
		}
	}
	return sorted(list)
}

func sorted(list []slice) []slice {
	slices.SortFunc(list, func(a, b slice) int { return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Dur, b.Dur)) })
	return list
}

// rowsOf are the times of a table's rows that have some.
func rowsOf[T any](t *testing.T, dir *session.Dir, times func(*T) (from, to *int64)) (list []slice) {
	for r, err := range session.Rows[T](dir) {
		qt.Assert(t, qt.IsNil(err))
		if from, to := times(r); from != nil && to != nil {
			list = append(list, slice{*from, max(*to-*from, 0)})
		}
	}
	return sorted(list)
}

// Sessions of real servers, exported: the trace has each row of the tables, no more, with
// its time, and every view of views.sql has an answer. None of these has replays or kernels
// with times: PMTRACE_TEST_SESSIONS names more sessions (a pattern), such as record makes.
func TestExportRecorded(t *testing.T) {
	perfetto, analysis := python(t, "perfetto.sh"), python(t, "analysis.sh")
	check, err := filepath.Abs("../../output/render/testdata/check.py")
	qt.Assert(t, qt.IsNil(err))
	ask, err := filepath.Abs("../../output/session/testdata/views.py")
	qt.Assert(t, qt.IsNil(err))
	more, err := filepath.Glob(os.Getenv("PMTRACE_TEST_SESSIONS"))
	qt.Assert(t, qt.IsNil(err))
	for _, from := range append([]string{
		"testdata/recorded/h200-pressure", "testdata/recorded/h200-midload", "testdata/recorded/h200-record",
		"../../e2e/gpu/testdata/h200-llama8b", "../../e2e/gpu/testdata/h200-llama1b", "../../e2e/gpu/testdata/h200-qwen3moe-v1",
	}, more...) {
		t.Run(filepath.Base(from), func(t *testing.T) {
			place := filepath.Join(t.TempDir(), "session")
			qt.Assert(t, qt.IsNil(os.CopyFS(filepath.Join(place, "journal"), os.DirFS(filepath.Join(from, "journal")))))
			pmtrace(t, "decode", "--no-csv", place)
			packed := filepath.Join(t.TempDir(), "trace.gz")
			pmtrace(t, "export", "perfetto", "--requests", "100000", place, "-o", packed)

			dir, err := session.Open(place)
			qt.Assert(t, qt.IsNil(err))
			defer dir.Close()
			var trace traceOf
			qt.Assert(t, qt.IsNil(json.Unmarshal(output(t, ".", perfetto, check, packed, "all"), &trace)))
			qt.Check(t, qt.HasLen(trace.Errors, 0))
			sameTimes(t, dir, trace)

			var views map[string]int
			qt.Assert(t, qt.IsNil(json.Unmarshal(output(t, place, analysis, ask), &views)))
			qt.Check(t, qt.Equals(views["steps"], count[record.StepRow](t, dir)))
			qt.Check(t, qt.Equals(views["q_preempted"], count[record.PreemptionRow](t, dir)))
			qt.Check(t, qt.Equals(views["q_slowest_requests"], 20))
			qt.Check(t, qt.Equals(views["q_late_tokens"], 100))
			qt.Check(t, qt.IsTrue(views["q_batch_distribution"] > 0 && views["q_kv_pressure"] > 0 && views["q_cpu_operations"] > 0))
		})
	}
}

func sameTimes(t *testing.T, dir *session.Dir, trace traceOf) {
	scheduled := rowsOf(t, dir, func(r *record.StepRow) (from, to *int64) {
		to = cmp.Or(r.EndNS, r.UpdateNS, &r.ScheduledNS)
		return &r.StartNS, to
	})
	qt.Check(t, qt.DeepEquals(trace.slices("engine 0/scheduler"), scheduled))
	onGPU := rowsOf(t, dir, func(r *record.StepRow) (from, to *int64) { return r.GPUStartNS, r.GPUEndNS })
	qt.Check(t, qt.DeepEquals(trace.slices("engine 0/GPU/steps"), onGPU))

	replays := rowsOf(t, dir, func(r *record.GraphLaunchRow) (from, to *int64) { return r.StartNS, r.EndNS })
	operations := rowsOf(t, dir, func(r *record.CPUOperationRow) (from, to *int64) {
		return &r.TimeNS, new(r.TimeNS + r.DurNS)
	})
	kernels := rowsOf(t, dir, func(r *record.KernelRow) (from, to *int64) {
		return &r.TimeNS, new(r.TimeNS + r.DurNS)
	})
	var gotReplays, gotOperations, gotKernels []slice
	requests, instants := 0, 0
	for path, n := range trace.Tree {
		switch {
		case strings.HasPrefix(path, "engine 0/GPU/graph replays"):
			gotReplays = append(gotReplays, trace.slices(path)...)
		case strings.Contains(path, "/GPU/kernels"), strings.Contains(path, "/GPU/NCCL"): // of no known engine, too
			gotKernels = append(gotKernels, trace.slices(path)...)
		case strings.HasPrefix(path, "engine 0/CPU/"):
			gotOperations = append(gotOperations, trace.slices(path)...)
		case strings.HasPrefix(path, "engine 0/requests/"):
			requests++
			instants += n.Instants
		}
	}
	qt.Check(t, qt.DeepEquals(sorted(gotReplays), replays))
	qt.Check(t, qt.DeepEquals(sorted(gotKernels), kernels))
	qt.Check(t, qt.DeepEquals(sorted(gotOperations), operations))

	qt.Check(t, qt.Equals(requests, count[record.RequestRow](t, dir)))
	marks := 0
	for r, err := range session.Rows[record.RequestRow](dir) {
		qt.Assert(t, qt.IsNil(err))
		for _, ns := range []*int64{r.FirstTokNS, r.FinishedNS} {
			if ns != nil {
				marks++
			}
		}
	}
	qt.Check(t, qt.Equals(instants, marks))
}

func TestExportOptions(t *testing.T) {
	place := filepath.Join(t.TempDir(), "session")
	qt.Assert(t, qt.IsNil(os.CopyFS(place, os.DirFS("testdata/recorded/h200-record"))))
	fails := func(want string, args ...string) {
		var stderr strings.Builder
		qt.Check(t, qt.Not(qt.Equals(run(t.Context(), args, nil, io.Discard, &stderr, nil), 0)))
		qt.Check(t, qt.StringContains(stderr.String(), want))
	}
	fails("pmtrace decode SESSION makes again what this version needs", "export", "perfetto", place)
	fails("there is no table steps; pmtrace decode SESSION makes again what this version needs", "export", "views", place)
	fails("name a directory that pmtrace made", "export", "perfetto", place+"/nothing")
	fails("--from 5s is behind --to 2s; see pmtrace --help", "export", "perfetto", "--from", "5s", "--to", "2", place)

	pmtrace(t, "decode", "--no-csv", place)
	said := pmtrace(t, "export", "perfetto", "--requests", "40", place)
	qt.Check(t, qt.StringContains(said, "pmtrace: 60 of 100 requests have no track; "))
	whole, err := os.Stat(filepath.Join(place, "perfetto.pftrace"))
	qt.Assert(t, qt.IsNil(err))
	pmtrace(t, "export", "perfetto", "--from", "10s", "--to", "11s", place)
	part, err := os.Stat(filepath.Join(place, "perfetto.pftrace"))
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.IsTrue(part.Size() < whole.Size()/2), qt.Commentf("%d of %d", part.Size(), whole.Size()))

	qt.Assert(t, qt.IsNil(os.Remove(filepath.Join(place, "views.sql"))))
	pmtrace(t, "export", "views", place)
	_, err = os.Stat(filepath.Join(place, "views.sql"))
	qt.Check(t, qt.IsNil(err))
}
