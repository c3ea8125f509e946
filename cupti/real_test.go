//go:build gpu

package cupti

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-quicktest/qt"

	"github.com/pmtrace/pmtrace/cupti/inject"
	"github.com/pmtrace/pmtrace/decode/wire"
)

// TestRealCUDA runs on a machine with a GPU and python3, with one or more of CUDA's
// runtimes, each of which has its libcupti where its wheels or a toolkit put it:
//
//	go test -c -tags gpu -o cupti.test ./cupti
//	PMTRACE_CUDART=/…/libcudart.so.12:/…/libcudart.so.13 ./cupti.test -test.v -test.run RealCUDA
//
// CUPTI's time of each replay, as it reaches us, is the one that CUDA events around it have,
// and in a window each copy of a graph is told.
func TestRealCUDA(t *testing.T) {
	libraries := filepath.SplitList(os.Getenv("PMTRACE_CUDART"))
	if len(libraries) == 0 {
		t.Skip("PMTRACE_CUDART names no libcudart")
	}
	for _, library := range libraries {
		t.Run(filepath.Base(library), func(t *testing.T) {
			t.Run("replays", func(t *testing.T) { realReplays(t, library) })
			t.Run("kernels", func(t *testing.T) { realCopies(t, library) })
		})
	}
}

const (
	realCount = 100
	realNodes = 64
	realBytes = 256 << 20 // a node
)

func realReplays(t *testing.T, library string) {
	events, h, lost := runReal(t, library, inject.Kernels{})
	var replays []int64
	for _, r := range each(h, wire.KindCUPTIReplay, (*wire.CUPTIReplay).Read) {
		replays = append(replays, int64(r.End-r.Start))
	}
	// CUDA 12's CUPTI is forced to tell: what is under way then has no times.
	qt.Assert(t, qt.Equals(len(replays)+lost, realCount))
	qt.Assert(t, qt.IsTrue(lost <= 10), qt.Commentf("%d", lost))
	ratio := median(replays) / median(events)
	t.Logf("%d replays of %.3f ms by events: CUPTI's are %.3f %% of that, %d without times", len(replays), median(events)/1e6, 100*ratio, lost)
	// With CUDA 12 the events take 90 µs themselves: of one graph on one GPU both CUPTIs say the same.
	most := map[bool]float64{false: 0.005, true: 0.01}[strings.HasSuffix(library, ".12")]
	qt.Check(t, qt.IsTrue(math.Abs(ratio-1) < most), qt.Commentf("%v", ratio))
}

func realCopies(t *testing.T, library string) {
	_, h, lost := runReal(t, library, inject.Kernels{Window: time.Second, Period: time.Second})
	copies := each(h, wire.KindCUPTICopy, (*wire.CUPTICopy).Read)
	for _, c := range copies {
		qt.Check(t, qt.Equals(c.Bytes, realBytes))
	}
	qt.Check(t, qt.Equals(len(copies), realCount*realNodes))
	qt.Check(t, qt.Equals(lost, 0))
}

// runReal replays a graph on the runtime, and returns the times between its events and what
// reached us.
func runReal(t *testing.T, library string, kernels inject.Kernels) (events []int64, h *host, lost int) {
	t.Helper()
	i, err := inject.New(inject.Options{Candidates: []string{t.TempDir()}, UID: os.Geteuid(), GID: os.Getegid(), Kernels: kernels})
	qt.Assert(t, qt.IsNil(err))
	defer i.Remove()
	cmd := exec.Command("python3", "testdata/graphs.py", library, fmt.Sprint(realCount))
	cmd.Stderr, cmd.Env = os.Stderr, os.Environ()
	for name, value := range i.Environment() {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	in, err := cmd.StdinPipe()
	qt.Assert(t, qt.IsNil(err))
	out, err := cmd.StdoutPipe()
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.IsNil(cmd.Start()))
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()

	reader, err := Open(i.Dir, i.Session)
	qt.Assert(t, qt.IsNil(err))
	defer reader.Close()
	h = &host{t: t, reader: reader}
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	answers := make(chan []byte, 2)
	go func() {
		defer close(answers)
		for lines.Scan() {
			answers <- slices.Clone(lines.Bytes())
		}
	}()
	<-answers // its pid
	fmt.Fprintln(in)
	for end := time.Now().Add(time.Minute); ; {
		select {
		case line := <-answers:
			qt.Assert(t, qt.IsNil(json.Unmarshal(line, &events)), qt.Commentf("%s", line))
		case <-time.After(10 * time.Millisecond):
			h.poll()
			if events == nil && time.Now().Before(end) {
				continue
			}
		}
		break
	}
	for range 200 { // what CUPTI has not delivered yet
		time.Sleep(10 * time.Millisecond)
		h.poll()
	}
	t.Logf("CUPTI %d of %s, %s %s, %d events", h.state.CUPTI, h.state.Library, h.state.State, h.state.Why, len(h.events))
	qt.Assert(t, qt.Equals(h.state.State, Running.String()))
	for _, l := range reader.Losses() {
		qt.Check(t, qt.Equals(l.Reason, "not_timed"))
		lost += int(l.Count)
	}
	qt.Assert(t, qt.HasLen(events, realCount))
	return events, h, lost
}

func median(list []int64) float64 {
	list = slices.Sorted(slices.Values(list))
	return float64(list[len(list)/2])
}
