//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pmtrace/pmtrace/decode/record"
)

// Words of the objects that are read are wrong as they are read: null, huge, unmapped, other
// objects, cycles. The server goes on, pmtrace stays small and alive, each step is there, and
// of those that are told after the last lie each is exact.
func TestLyingHeap(t *testing.T) {
	full(t)
	b := shapeBench(t)
	// Two lies a step. A request that one was told of may live on for some steps.
	const lies, steps, settled = 4000, 3000, 2000 + 150
	for i, version := range []string{"3.11", "3.12", "3.13", "3.14"} {
		t.Run(version, func(t *testing.T) {
			s := b.counted(t, version, "--lies", strconv.Itoa(lies), "--steps", strconv.Itoa(steps), "--rate", "600", "--seed", strconv.Itoa(i+1))
			tr := s.attach(t)
			memory := watchMemory(t, tr.cmd.Process.Pid)
			s.run(t)
			most := memory()
			tr.stop(t, 0)
			tr.decodesTheSame(t)
			truth := s.shapeSteps(t)
			got, exact, wrong, last := 0, 0, 0, -1
			ids, requests := map[int64]string{}, map[int64][]string{}
			dir := openSession(t, tr.session(t))
			collect(t, dir, func(r *record.RequestRow) { ids[r.RequestUID] = r.RequestID })
			collect(t, dir, func(r *record.StepRequestRow) {
				if r.Computed != nil {
					requests[r.StepID] = append(requests[r.StepID], inStep(ids[r.RequestUID], int(r.Scheduled), int(*r.Computed)))
				}
			})
			collect(t, dir, func(r *record.StepRow) {
				got++
				at, ok := truth.at[stepName(requests[r.StepID])]
				if !ok || at <= last {
					wrong++
					return
				}
				exact++
				if at > settled && at != last+1 {
					t.Errorf("after step %d, and the last lie, comes %d", last, at)
				}
				last = at
			})
			if last != steps-1 || len(truth.names) != steps {
				t.Errorf("the last step is %d, the program made %d", last, len(truth.names))
			}
			if got < steps*95/100 || got > steps {
				t.Errorf("%d steps, the program made %d", got, steps)
			}
			if most > 256<<20 {
				t.Errorf("pmtrace took %d MiB", most>>20)
			}
			t.Logf("%d steps, of which %d exact in spite of %d lies, %d not; %s; at most %d MiB", got, exact, lies, wrong, tr.bad(t), most>>20)
		})
	}
}

// watchMemory looks at a process's memory until it is asked for the most.
func watchMemory(t *testing.T, pid int) (most func() int) {
	t.Helper()
	stop, done := make(chan struct{}), make(chan int)
	go func() {
		most := 0
		for {
			status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
			if _, rest, ok := strings.Cut(string(status), "VmRSS:"); ok {
				kb, _ := strconv.Atoi(strings.Fields(rest)[0])
				most = max(most, kb<<10)
			}
			select {
			case <-stop:
				done <- most
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	return func() int { close(stop); return <-done }
}

// bad is what metadata.json counts of what could not be read.
func (tr *tracer) bad(t *testing.T) string {
	t.Helper()
	var m struct {
		Losses json.RawMessage
		Lost   json.RawMessage `json:"lost_events"`
	}
	data, err := os.ReadFile(filepath.Join(tr.session(t), "metadata.json"))
	if err == nil {
		err = json.Unmarshal(data, &m)
	}
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("counted: %.400s %.200s", strings.Join(strings.Fields(string(m.Losses)), ""), m.Lost)
}
