package probes_test

import (
	"errors"
	"fmt"
	"os/exec"
	"testing"
	"time"
	"unsafe"

	"github.com/go-quicktest/qt"
	"golang.org/x/sys/unix"

	"github.com/pmtrace/pmtrace/probes"
)

// Nothing is lost at a pace that no CPU model reaches: 500 steps a second of 64
// requests.
func TestPace(t *testing.T) {
	needRoot(t)
	s := startShape(t, nil, "3.13", "--rate", "500", "--concurrency", "64", "--requests", "100000",
		"--steps", "2500", "--blocks", "2000", "--output", "200")
	began := time.Now()
	got, losses, _ := trace(t, s, probes.Options{})
	qt.Assert(t, qt.Equals(lost(losses), 0), qt.Commentf("%v", losses))
	check(t, got, s.want())
	qt.Assert(t, qt.IsTrue(len(got.steps) == 2500))
	t.Logf("%d steps in %v", len(got.steps), time.Since(began).Round(time.Millisecond))
}

// A ring that is too small loses events: each is counted, and what is left is
// right or null.
func TestTinyRing(t *testing.T) {
	needRoot(t)
	s := startShape(t, nil, "3.12", "--concurrency", "64", "--requests", "600", "--blocks", "300")
	got, losses, _ := trace(t, s, probes.Options{RingBytes: 4096, Poll: 20 * time.Millisecond})
	qt.Assert(t, qt.IsTrue(lost(losses) > 0))
	var rows int64
	for _, l := range got.losses {
		rows += l.Count
	}
	qt.Assert(t, qt.IsTrue(rows > 0), qt.Commentf("no row in losses, counters %v", losses))

	want := s.want()
	seen := map[int64]bool{}
	for _, g := range got.steps {
		at := qt.Commentf("step %d", g.StepID)
		qt.Assert(t, qt.IsFalse(seen[g.StepID]), at)
		seen[g.StepID] = true
		w := want.steps[g.StepID]
		qt.Assert(t, qt.Equals(int(g.Tokens), w.tokens), at)
		qt.Assert(t, qt.Equals(int(g.Requests), len(w.rows)), at)
		if g.OutputTokens != nil {
			qt.Assert(t, qt.Equals(int(*g.OutputTokens), w.outputs), at)
		}
		for _, r := range got.stepReqs[g.StepID] {
			id := got.requests[r.RequestUID].RequestID
			if id == "" {
				continue // announced by an event that was lost
			}
			wr, ok := w.rows[id]
			qt.Assert(t, qt.IsTrue(ok), at)
			qt.Assert(t, qt.Equals(int(r.Scheduled), wr[0]), at)
			if r.Computed != nil {
				qt.Assert(t, qt.Equals(int(*r.Computed), wr[1]), at)
			}
		}
	}
}

// holdSlots takes n hardware breakpoints of a thread, as a debugger does.
func holdSlots(t *testing.T, tid, n int) {
	t.Helper()
	for i := range n {
		attr := unix.PerfEventAttr{
			Type: 5, Size: uint32(unsafe.Sizeof(unix.PerfEventAttr{})), Sample: 1,
			Bp_type: 2, Ext1: uint64(0x10000 + 8*i), Ext2: 8, Bits: unix.PerfBitExcludeKernel,
		}
		fd, err := unix.PerfEventOpen(&attr, tid, -1, -1, unix.PERF_FLAG_FD_CLOEXEC)
		qt.Assert(t, qt.IsNil(err))
		t.Cleanup(func() { unix.Close(fd) })
	}
}

// With slots taken the tracer takes what is left, most worth first, and says
// what it cannot give.
func TestSlotsTaken(t *testing.T) {
	needRoot(t)
	for taken := 1; taken <= 3; taken++ {
		t.Run(fmt.Sprint(taken), func(t *testing.T) {
			s := startShape(t, nil, "3.13", "--blocks", "60")
			holdSlots(t, s.pid, taken)
			got, losses, unavailable := trace(t, s, probes.Options{})
			qt.Assert(t, qt.Equals(lost(losses), 0), qt.Commentf("%v", losses))
			qt.Assert(t, qt.HasLen(unavailable, taken))
			for _, u := range unavailable {
				qt.Assert(t, qt.IsTrue(u.Reason != "" && u.Remedy != "" && len(u.Columns) > 0))
			}
			want := s.want()
			qt.Assert(t, qt.HasLen(got.steps, len(want.steps)))
			for i, g := range got.steps {
				at := qt.Commentf("step %d", i)
				qt.Assert(t, qt.Equals(int(g.Tokens), want.steps[i].tokens), at)
				qt.Assert(t, qt.Equals(int(g.Requests), len(want.steps[i].rows)), at)
				qt.Assert(t, qt.HasLen(got.stepReqs[g.StepID], len(want.steps[i].rows)), at)
			}
			if taken < 3 {
				qt.Assert(t, qt.HasLen(got.usage, len(want.kv)))
			} else {
				qt.Assert(t, qt.HasLen(got.usage, 0))
			}
			qt.Assert(t, qt.Equals(got.steps[0].OutputTokens != nil, taken < 2))
		})
	}
	t.Run("4", func(t *testing.T) {
		s := startShape(t, nil, "3.13")
		holdSlots(t, s.pid, 4)
		_, err := attachOnly(t, s)
		qt.Assert(t, qt.IsTrue(errors.Is(err, probes.ErrNoSlot)), qt.Commentf("%v", err))
		s.run()
	})
}

// A server in PID and mount namespaces of its own, as in a container.
func TestNamespaces(t *testing.T) {
	needRoot(t)
	if _, err := exec.LookPath("unshare"); err != nil {
		t.Fatal(err)
	}
	for _, version := range versions {
		t.Run(version, func(t *testing.T) {
			s := startShape(t, []string{"unshare", "--pid", "--mount", "--fork", "--mount-proc"}, version, "--blocks", "60")
			s.pid = childOf(t, s.cmd.Process.Pid)
			got, losses, _ := trace(t, s, probes.Options{})
			qt.Assert(t, qt.Equals(lost(losses), 0), qt.Commentf("%v", losses))
			check(t, got, s.want())
		})
	}
}

// Watches that are closed leave the program as it was, and it can be traced
// again.
func TestAttachAgain(t *testing.T) {
	needRoot(t)
	s := startShape(t, nil, "3.11", "--blocks", "60")
	for range 5 {
		tracer, err := attachOnly(t, s)
		qt.Assert(t, qt.IsNil(err))
		qt.Assert(t, qt.IsNil(tracer.Close()))
	}
	got, losses, _ := trace(t, s, probes.Options{})
	qt.Assert(t, qt.Equals(lost(losses), 0), qt.Commentf("%v", losses))
	check(t, got, s.want())
}
