//go:build e2e

package e2e

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/session"
)

// shapeSteps are the steps that a program of e2e/shape says it made. Each has a name that no
// other has: its requests, with what was scheduled and computed of each.
type shapeSteps struct {
	names []string
	at    map[string]int
}

func stepName(requests map[string][2]int) string {
	var b strings.Builder
	for _, id := range slices.Sorted(maps.Keys(requests)) {
		fmt.Fprintf(&b, "%s %v ", id, requests[id])
	}
	return b.String()
}

// shapeSteps reads what the program wrote at its end.
func (s *shapeProgram) shapeSteps(t *testing.T) *shapeSteps {
	t.Helper()
	f, err := os.Open(s.file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all := &shapeSteps{at: map[string]int{}}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var fields []json.RawMessage
		var kind string
		if err := json.Unmarshal(lines.Bytes(), &fields); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(fields[0], &kind); err != nil || kind != "step" {
			continue
		}
		var requests map[string][2]int
		if err := json.Unmarshal(fields[4], &requests); err != nil {
			t.Fatal(err)
		}
		name := stepName(requests)
		all.at[name] = len(all.names)
		all.names = append(all.names, name)
	}
	return all
}

// tracedSteps are steps of a session, by the program's own count.
type tracedSteps struct{ first, count int }

// contains says which of the program's steps a session has. Each must be one of them, to the
// last token, and none between the first and the last may be missing.
func (all *shapeSteps) contains(t *testing.T, path string) (got tracedSteps) {
	t.Helper()
	return all.containsOf(t, path, 0)
}

// containsOf does so for one of the session's engines.
func (all *shapeSteps) containsOf(t *testing.T, path string, engine int32) (got tracedSteps) {
	t.Helper()
	dir, err := session.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	ids := map[int64]string{}
	requests := map[int64]map[string][2]int{} // by step
	collect(t, dir, func(r *record.RequestRow) { ids[r.RequestUID] = r.RequestID })
	collect(t, dir, func(r *record.StepRequestRow) {
		if r.Engine != engine {
			return
		}
		if requests[r.StepID] == nil {
			requests[r.StepID] = map[string][2]int{}
		}
		computed := -1
		if r.Computed != nil {
			computed = int(*r.Computed)
		}
		requests[r.StepID][ids[r.RequestUID]] = [2]int{int(r.Scheduled), computed}
	})
	next := -1
	cut := int64(-1) // a journal may end between a step and its requests: its tracer was killed
	collect(t, dir, func(r *record.StepRow) {
		if r.Engine != engine {
			return
		}
		if cut >= 0 {
			t.Errorf("%s: step %d has no requests, and is not the last", path, cut)
		}
		if requests[r.StepID] == nil && r.Requests > 0 {
			cut = r.StepID
			return
		}
		at, ok := all.at[stepName(requests[r.StepID])]
		switch {
		case !ok:
			t.Errorf("%s: step %d is none that the program made: %s", path, r.StepID, stepName(requests[r.StepID]))
		case next >= 0 && at != next:
			t.Errorf("%s: step %d is the program's %d, want %d", path, r.StepID, at, next)
		case int(r.Requests) != len(requests[r.StepID]):
			t.Errorf("%s: step %d has %d requests, but %d rows", path, r.StepID, r.Requests, len(requests[r.StepID]))
		}
		if next < 0 {
			got.first = at
		}
		next = at + 1
		got.count++
	})
	return got
}

// end is the program's count of the step after the last.
func (got tracedSteps) end() int { return got.first + got.count }

// made is how many steps the program has made so far, of one with --counter.
func (s *shapeProgram) made(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile(s.counterFile())
	if err != nil || len(b) < 8 {
		t.Fatalf("the program's counter: %v", err)
	}
	return int(binary.LittleEndian.Uint64(b))
}

func (s *shapeProgram) counterFile() string {
	return s.cmd.Args[slices.Index(s.cmd.Args, "--counter")+1]
}

// unharmed: the program goes on at its pace, nobody traces it, and nothing of ours is in it.
func (s *shapeProgram) unharmed(t *testing.T) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"TracerPid:\t0\n", "State:\t"} {
		if !strings.Contains(string(status), want) {
			t.Errorf("/proc/PID/status of the program has no %q", want)
		}
	}
	before, began := s.made(t), time.Now()
	for s.made(t) < before+50 {
		if time.Since(began) > 20*time.Second {
			t.Fatalf("the program makes no more steps: %d", s.made(t)-before)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
