//go:build e2e

package e2e

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pmtrace/pmtrace/decode/record"
)

// recorded starts the program by pmtrace record, runs it and gives what was written. env
// is added to pmtrace's.
func (b *bench) recorded(t *testing.T, env, flags []string, arguments ...string) (*shapeProgram, *tracer, *cudaTables) {
	t.Helper()
	s, tr := b.startRecorded(t, env, flags, arguments...)
	s.run(t)
	time.Sleep(500 * time.Millisecond) // workers are killed at the end, and what was not flushed goes with them
	go func() { _ = tr.cmd.Wait(); close(tr.done) }()
	fmt.Fprintln(s.in, "end")
	_ = s.in.Close()
	if !tr.await(30 * time.Second) {
		t.Fatalf("pmtrace does not end: %s", tr.stderr.String())
	}
	if code := tr.cmd.ProcessState.ExitCode(); code != 0 {
		t.Fatalf("exit code %d: %s", code, tr.stderr.String())
	}
	tr.decodesTheSame(t)
	return s, tr, readTables(t, tr.session(t))
}

// startRecorded starts it, and lets it load CUDA and capture its graphs. One with experts
// has done so before the engine's loop, as vLLM does: by then its layers are known.
func (b *bench) startRecorded(t *testing.T, env, flags []string, arguments ...string) (*shapeProgram, *tracer) {
	t.Helper()
	s := &shapeProgram{bench: b, version: "3.12", workers: 1, late: !slices.Contains(arguments, "--experts"), out: filepath.Join(b.out, strings.ReplaceAll(t.Name(), "/", "_"))}
	fresh(t, s.out)
	s.file = filepath.Join(s.out, "truth.jsonl")
	for i, a := range arguments {
		if a == "--tp" {
			s.workers, _ = strconv.Atoi(arguments[i+1])
		}
	}
	argv := append([]string{"record", "-v", "--output-dir", s.out, "--cupti", "on"}, flags...)
	argv = append(argv, "--", cpython(t, s.version), "-B", "e2e/shape/shape.py", "--truth", s.file, "--stub", b.stub())
	if s.late {
		argv = append(argv, "--late")
	}
	tr := &tracer{bench: b, cmd: exec.Command(b.pmtrace, append(argv, arguments...)...), done: make(chan struct{})}
	tr.cmd.Dir, tr.cmd.Stderr, tr.cmd.Env = b.repo, &tr.stderr, append(os.Environ(), env...)
	s.cmd = tr.cmd
	s.start(t)
	tr.says(t, "tracing engine")
	if s.late {
		s.goOn(t, "loaded")
	}
	for worker := range s.workers {
		tr.says(t, fmt.Sprintf("worker=%d ", worker))
	}
	return s, tr
}

// replaysMatch: each launch of the truth has the GPU's own times, to the nanosecond.
// without counts those that may have none.
func (c *cudaTables) replaysMatch(t *testing.T, s *shapeProgram, without func(gpuEntry) bool) {
	t.Helper()
	for rank := range s.workers {
		truth := readTruth(t, s.file, rank)
		got := c.launches[rank]
		if len(got) != len(truth.launches) {
			t.Errorf("rank %d: %d launches, want %d", rank, len(got), len(truth.launches))
			continue
		}
		d := &differences{t: t, what: fmt.Sprintf("replays of rank %d", rank)}
		none := 0
		for i, g := range got {
			w := truth.launches[i]
			if exact(g.TimingSource) {
				d.check(c.zero+*g.StartNS == w.Start && c.zero+*g.EndNS == w.End && *g.DurNS == w.End-w.Start && *g.ErrorNS == 0,
					"launch %d: %d to %d, want %d to %d", i, c.zero+*g.StartNS, c.zero+*g.EndNS, w.Start, w.End)
				continue
			}
			none++
			d.check(without(w), "launch %d at %d has no times", i, w.Called)
		}
		d.end(len(got))
		t.Logf("rank %d: %d of %d without CUPTI's times", rank, none, len(got))
	}
}

func exact(source *string) bool { return source != nil && *source == record.TimingCUPTI }

// measuredMatch: the GPU's time of steps with a graph, to the error that stands beside it.
// switches is how often kernels were switched on or off: each may hide the replay that was under
// way.
func (c *cudaTables) measuredMatch(t *testing.T, s *shapeProgram, switches int) {
	t.Helper()
	truth := readTruth(t, s.file, 0)
	d := &differences{t: t, what: "GPU times of steps"}
	n, sure, missing := 0, 0, 0
	for i, got := range c.steps {
		want := &truth.steps[i]
		// The copies of a step without a graph may be taken for those of the step before.
		must := inGraph(&got) && c.graphNext(i)
		if must {
			sure++
		}
		if !exact(got.GPUTimingSource) {
			if must {
				missing++
			}
			continue
		}
		n++
		first, _ := want.start()
		end, recorded := want.end()
		off := abs(*got.StepGPUNS - (end - first.Start))
		d.check(recorded && off <= *got.GPUErrorNS, "step %d: %d, want %d, stated error %d (start %d, end %d off)", i, *got.StepGPUNS, end-first.Start, *got.GPUErrorNS,
			c.zero+*got.GPUStartNS-first.Start, c.zero+*got.GPUEndNS-end)
	}
	d.end(n)
	t.Logf("%d steps have CUPTI's times; of %d with a graph and one in the next step, %d have none", n, sure, missing)
	if n == 0 || missing > switches {
		t.Errorf("%d of %d steps without CUPTI's times", missing, sure)
	}
}

func inGraph(r *record.StepRow) bool { return r.GraphMode != nil && *r.GraphMode != "NONE" }

// graphNext reports whether the next step with tokens ran a graph.
func (c *cudaTables) graphNext(i int) bool {
	for _, next := range c.steps[i+1:] {
		if next.Tokens > 0 {
			return inGraph(&next)
		}
	}
	return false
}

func never(gpuEntry) bool { return false }

// TestRecordCUPTI: a recorded program's replays have the times that the stub's GPU had.
func TestRecordCUPTI(t *testing.T) {
	b := shapeBench(t)
	for _, c := range []struct {
		name string
		args []string
	}{
		{"v2 async", []string{"--cuda", "v2", "--async"}},
		{"v1 sync", []string{"--cuda", "v1"}},
		{"v2 bound by the GPU", []string{"--cuda", "v2", "--async", "--rate", "0", "--forward", "15000"}},
		{"v2 drafts", []string{"--cuda", "v2", "--async", "--spec", "3"}},
		{"v2 graphs captured anew", []string{"--cuda", "v2", "--recapture", "120"}},
		{"v2 two ranks", []string{"--cuda", "v2", "--tp", "2", "--async"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.name != "v2 async" && c.name != "v2 two ranks" {
				full(t)
			}
			s, _, tables := b.recorded(t, nil, []string{"--kernels", "off"}, append(load(), c.args...)...)
			tables.replaysMatch(t, s, never)
			if !emulated() {
				tables.measuredMatch(t, s, 2)
			}
			for _, l := range tables.losses {
				t.Errorf("lost: %+v", l)
			}
		})
	}
}

// TestRecordKernels: in windows replays are timed by their kernels.
func TestRecordKernels(t *testing.T) {
	b := shapeBench(t)
	s, tr, tables := b.recorded(t, nil, []string{"--kernels", "200ms/1s"}, append(load(), "--cuda", "v2", "--async")...)
	windows, kernels, inGraphs := readKernels(t, tr.session(t))
	switching := func(w gpuEntry) bool {
		for _, k := range windows {
			on, off := tables.zero+k.OnNS, tables.zero+k.OnNS+k.OnSwitchNS
			if w.Called > on-1e6 && w.Called < off+1e6 {
				return true
			}
			if k.OffNS != nil && w.Called > tables.zero+*k.OffNS-1e6 && w.Called < tables.zero+*k.OffNS+*k.OffSwitchNS+1e6 {
				return true
			}
		}
		return false
	}
	tables.replaysMatch(t, s, switching)
	tables.measuredMatch(t, s, 2*len(windows))
	replays := int64(0)
	for _, w := range windows {
		replays += w.Replays
	}
	t.Logf("%d windows, %d kernels, %d of them in graphs, %d replays by them", len(windows), kernels, inGraphs, replays)
	if len(windows) < 2 || replays == 0 || inGraphs == 0 || kernels == inGraphs {
		t.Error("too few")
	}
}

// TestRecordCallWindows: where launches and copies are watched in windows, steps in them have
// their counts and phases, and no others; all else is of all steps.
func TestRecordCallWindows(t *testing.T) {
	b := shapeBench(t)
	s, _, tables := b.recorded(t, nil, []string{"--kernels", "off", "--cpu-windows", "300ms/1s"}, append(load(), "--cuda", "v2", "--async")...)
	tables.inWindows = true
	truth := readTruth(t, s.file, 0)
	tables.stepsMatch(t, truth)
	tables.operationsMatch(t, truth)
	tables.replaysMatch(t, s, never)
	n := 0
	for i := range tables.steps {
		if tables.counted(i) {
			n++
		}
	}
	t.Logf("%d of %d steps in windows", n, len(tables.steps))
	if n < 10 || n > len(tables.steps)*2/3 {
		t.Errorf("%d of %d steps in windows of 300 ms a second", n, len(tables.steps))
	}
	for _, l := range tables.losses {
		t.Errorf("lost: %+v", l)
	}
}

// TestRecordWithout: whatever keeps CUPTI from working costs its times, says so in one
// line, and nothing else.
func TestRecordWithout(t *testing.T) {
	b := shapeBench(t)
	for _, c := range []struct {
		name, says  string
		env, flags  []string
		cudart      string
		windows     string // of launches and copies: with the library's failure the first one stays open
		exact, full bool
	}{
		{name: "another injection", env: []string{"CUDA_INJECTION64_PATH=/nonexistent"}, says: "not available: cupti: CUDA_INJECTION64_PATH is set to /nonexistent by another tool"},
		{name: "off", flags: []string{"--cupti", "off"}},
		{name: "another subscriber", env: []string{"STUB_CUPTI_SUBSCRIBED=1"}, says: "not available: kernels: graph launches are told by order", exact: true},
		{name: "no libcupti", windows: "300ms/1s", cudart: "static", says: "not available: cupti: no libcupti.so.13 or libcupti.so.12", full: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.full {
				full(t)
			}
			args := append(load(), "--cuda", "v2", "--async")
			if c.cudart != "" {
				args = append(args, "--cudart", c.cudart)
			}
			s, tr, tables := b.recorded(t, c.env, append([]string{"--cpu-windows", cmp.Or(c.windows, "always")}, c.flags...), args...)
			tables.inWindows = c.windows != ""
			if c.says != "" && strings.Count(tr.stderr.String(), "pmtrace: "+c.says) != 1 {
				t.Errorf("not said once: %s", c.says)
			}
			if c.exact {
				tables.replaysMatch(t, s, never)
				return
			}
			for _, l := range tables.launches[0] {
				if exact(l.TimingSource) {
					t.Fatal("a launch has CUPTI's times")
				}
			}
			tables.matches(t, s)
			if c.windows == "" {
				return
			}
			steps := tables.steps[:len(tables.steps)-1] // what the thread did last is told with its next call
			first := slices.IndexFunc(steps, func(s record.StepRow) bool { return s.KernelLaunches != nil })
			if first < 0 || first > len(steps)/2 {
				t.Fatalf("of %d steps, %d is the first in a window", len(steps), first)
			}
			for i := range steps[first:] {
				if !tables.counted(first + i) {
					t.Fatalf("step %d is in no window, %d was", first+i, first)
				}
			}
		})
	}
}

// TestRecordKilled: pmtrace is killed; the program goes on to its end, and the library is
// quiet.
func TestRecordKilled(t *testing.T) {
	b := shapeBench(t)
	place := t.TempDir()
	s, tr := b.startRecorded(t, []string{"PMTRACE_CUPTI_PATIENCE=500000000", "XDG_RUNTIME_DIR=" + place}, nil, append(load(), "--cuda", "v2", "--async")...)
	rings, err := filepath.Glob(filepath.Join(place, "pmtrace-cupti-*", "*.ring"))
	if err != nil || len(rings) != 1 {
		t.Fatalf("rings %v, %v", rings, err)
	}
	if err := tr.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = tr.cmd.Wait(); close(tr.done) }()
	s.run(t)
	header, err := os.ReadFile(rings[0])
	if err != nil {
		t.Fatal(err)
	}
	const offState, quiet = 44, 3 // cupti/inject/c/ring.h
	if state := header[offState]; state != quiet {
		t.Errorf("the library's state is %d", state)
	}
	truth := readTruth(t, s.file, 0)
	t.Logf("%d launches, all without pmtrace", len(truth.launches))
	fmt.Fprintln(s.in, "end")
	_ = s.in.Close()
}

func readKernels(t *testing.T, path string) (windows []record.KernelWindowRow, kernels, inGraphs int) {
	t.Helper()
	dir := openSession(t, path)
	collect(t, dir, func(r *record.KernelWindowRow) { windows = append(windows, *r) })
	collect(t, dir, func(r *record.KernelRow) {
		if strings.HasPrefix(r.Name, "copy ") {
			return
		}
		kernels++
		if r.GraphID != nil {
			inGraphs++
		}
	})
	return windows, kernels, inGraphs
}
