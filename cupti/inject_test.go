package cupti

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-quicktest/qt"

	"github.com/pmtrace/pmtrace/cupti/inject"
	"github.com/pmtrace/pmtrace/decode/wire"
)

// TestReplays: each launch is told with its numbers, and each replay with its times.
func TestReplays(t *testing.T) {
	h := newHost(t, hostOptions{})
	h.load(Running)
	qt.Assert(t, qt.IsTrue(h.state.Calls))
	qt.Assert(t, qt.Equals(h.state.PID, h.pid))
	qt.Assert(t, qt.Equals(h.state.CUPTI, 130001))
	qt.Assert(t, qt.Equals(filepath.Base(h.state.Library), "libcupti.so.13"))
	var number uint32
	var start uint64
	_, err := fmt.Sscan(h.do("launch 50 1234abcd 7 5000 3 0"), &number, &start)
	qt.Assert(t, qt.IsNil(err))
	h.do("launch 5 1234abcd 7 5000 3 700") // fails
	h.do("copy 2 4096 300")
	h.until("all there", func() bool { return h.count(wire.KindCUPTICopy) == 1 })
	calls := each(h, wire.KindCUPTICall, (*wire.CUPTICall).Read)
	replays := each(h, wire.KindCUPTIReplay, (*wire.CUPTIReplay).Read)
	qt.Assert(t, qt.HasLen(calls, 50))
	qt.Assert(t, qt.HasLen(replays, 50))
	for i := range calls {
		c, r := &calls[i], &replays[i]
		qt.Assert(t, qt.Equals(c.Exec, 0x1234abcd))
		qt.Assert(t, qt.Equals(c.Stream, 2))
		qt.Assert(t, qt.Equals(c.Thread, h.thread))
		qt.Assert(t, qt.Equals(c.Runtime, c.Correlation-1))
		qt.Assert(t, qt.IsTrue(c.Began <= c.Ended && c.Ended <= c.Ktime))
		qt.Assert(t, qt.Equals(r.Correlation, c.Correlation))
		qt.Assert(t, qt.Equals(r.End-r.Start, 5000))
		qt.Assert(t, qt.Equals(r.Graph, 7))
		qt.Assert(t, qt.Equals(r.Stream, 13))
	}
	qt.Assert(t, qt.Equals(replays[49].Correlation, number))
	qt.Assert(t, qt.Equals(replays[49].Start, start))
	copied := each(h, wire.KindCUPTICopy, (*wire.CUPTICopy).Read)[0]
	qt.Assert(t, qt.Equals(copied.Bytes, 4096))
	qt.Assert(t, qt.Equals(copied.Kind, 2))
	qt.Assert(t, qt.HasLen(h.reader.Losses(), 0))

	// At the end nothing is left behind, whatever was told last.
	h.do("launch 3 1234abcd 7 5000 3 0")
	h.exits("exit 3", 3)
	h.until("ended", h.is(Ended))
	qt.Assert(t, qt.Equals(h.count(wire.KindCUPTIReplay), 53))
}

// TestWindows: in a window kernels are told instead of replays, names once each.
func TestWindows(t *testing.T) {
	h := newHost(t, hostOptions{kernels: inject.Kernels{Window: 200 * time.Millisecond, Period: 400 * time.Millisecond}})
	h.load(Running)
	qt.Assert(t, qt.IsTrue(h.state.Windows))
	launched := 0
	h.until("two windows", func() bool {
		h.do("launch 1 10 7 5000 3 0")
		launched++
		return h.count(wire.KindCUPTIWindow) >= 4
	})
	h.until("all there", func() bool { return h.count(wire.KindCUPTIReplay)+h.count(wire.KindCUPTIKernel)/3 == launched })
	windows := each(h, wire.KindCUPTIWindow, (*wire.CUPTIWindow).Read)
	at := func(from uint64) (in, known bool) {
		for i := range windows {
			switch w := &windows[i]; {
			case from > w.Ended+20e6:
				in, known = w.On, true
			case from+20e6 > w.Began: // under way as it was switched, or waiting for that
				known = false
			}
		}
		return in, known
	}
	for i, w := range windows[:4] {
		qt.Assert(t, qt.Equals(w.On, i%2 == 0))
		qt.Assert(t, qt.Equals(int(w.Number), i/2+1))
		if w.On { // the same for all ranks
			qt.Assert(t, qt.IsTrue(w.Began%400e6 < 110e6), qt.Commentf("%d", w.Began%400e6))
		}
	}
	kernels := each(h, wire.KindCUPTIKernel, (*wire.CUPTIKernel).Read)
	names := map[uint32]string{}
	for _, n := range each(h, wire.KindCUPTIName, (*wire.CUPTIName).Read) {
		qt.Assert(t, qt.Equals(names[n.ID], ""))
		names[n.ID] = string(n.Name)
	}
	qt.Assert(t, qt.HasLen(names, 3))
	for i, k := range kernels {
		qt.Assert(t, qt.Equals(names[k.Name], fmt.Sprintf("_Z6kernel%di", i%3)))
		qt.Assert(t, qt.Equals(k.Graph, 7))
		qt.Assert(t, qt.Equals(k.Node, 77))
		qt.Assert(t, qt.Equals(k.Grid, [3]uint32{100, 2, 1}))
		qt.Assert(t, qt.Equals(k.Block, [3]uint16{256, 1, 1}))
		qt.Assert(t, qt.Equals(k.Registers, 40))
		qt.Assert(t, qt.Equals(k.Shared, 3072))
		if in, known := at(k.Start); known {
			qt.Assert(t, qt.IsTrue(in))
		}
	}
	for _, r := range each(h, wire.KindCUPTIReplay, (*wire.CUPTIReplay).Read) {
		in, known := at(r.Start)
		qt.Assert(t, qt.IsTrue(!known || !in))
	}
}

// TestCopiesInWindows: outside of a window no copy is told, in it all are.
func TestCopiesInWindows(t *testing.T) {
	h := newHost(t, hostOptions{copies: true, kernels: inject.Kernels{Window: 200 * time.Millisecond, Period: 400 * time.Millisecond}})
	h.load(Running)
	qt.Assert(t, qt.IsTrue(h.state.CopiesInWindows))
	in, out := 0, 0 // copies made well within, and well outside
	h.until("two windows", func() bool {
		h.do("launch 1 10 7 5000 3 0")
		before := h.count(wire.KindCUPTIWindow)
		h.do("copy 2 4096 300")
		if h.count(wire.KindCUPTIWindow) == before {
			if before%2 == 1 {
				in++
			} else {
				out++
			}
		}
		return before >= 4
	})
	h.do("launch 1 10 7 5000 3 0")
	windows := each(h, wire.KindCUPTIWindow, (*wire.CUPTIWindow).Read)
	copies := each(h, wire.KindCUPTICopy, (*wire.CUPTICopy).Read)
	qt.Assert(t, qt.IsTrue(in > 20 && out > 20), qt.Commentf("%d in, %d out", in, out))
	qt.Assert(t, qt.IsTrue(len(copies) >= in/2 && len(copies) < in+out/2), qt.Commentf("%d copies: %d in, %d out", len(copies), in, out))
	for _, c := range copies {
		within := false
		for i := 0; i+1 < len(windows); i += 2 {
			within = within || c.Start >= windows[i].Began && c.Start <= windows[i+1].Ended
		}
		qt.Assert(t, qt.IsTrue(within || len(windows)%2 == 1 && c.Start >= windows[len(windows)-1].Began), qt.Commentf("%+v", c))
	}
}

// TestWindowsBetweenLaunches: threads that launch without a pause are never within a launch
// as kernels are switched on or off, or all is switched off: the mock would abort.
func TestWindowsBetweenLaunches(t *testing.T) {
	h := newHost(t, hostOptions{mock: "slow", ring: 4 << 20, kernels: inject.Kernels{Window: 40 * time.Millisecond, Period: 80 * time.Millisecond}})
	h.load(Running)
	for threads, least := range map[int]int{1: 8, 3: 1} {
		before := h.count(wire.KindCUPTIWindow)
		windows := func() int { return h.count(wire.KindCUPTIWindow) - before }
		for round := 0; round < 10 && windows() < least; round++ { // of several threads one is mostly within a launch
			done := make(chan string)
			go func() { done <- h.do("threads %d 10000", threads) }()
			for ended := false; !ended; h.poll() {
				select {
				case answer := <-done:
					qt.Assert(t, qt.Equals(answer, "done"))
					ended = true
				case <-time.After(10 * time.Millisecond):
				}
			}
		}
		qt.Assert(t, qt.IsTrue(windows() >= least), qt.Commentf("%d threads: %d", threads, windows()))
	}
	fmt.Fprintln(h.in, "threads 2 1000000")
	time.Sleep(300 * time.Millisecond)
	h.stopped = true // pmtrace ends
	h.until("ended", h.is(Ended))
	windows := each(h, wire.KindCUPTIWindow, (*wire.CUPTIWindow).Read)
	for i, w := range windows {
		qt.Assert(t, qt.Equals(w.On, i%2 == 0))
		qt.Assert(t, qt.IsTrue(w.Ended-w.Began < 10e6))
	}
	qt.Assert(t, qt.IsFalse(windows[len(windows)-1].On))
	qt.Assert(t, qt.IsTrue(alive(h.pid)))
}

// TestSwitchHangs: a switch that does not come back holds launches up once, and no longer than
// it must be waited for.
func TestSwitchHangs(t *testing.T) {
	h := newHost(t, hostOptions{mock: "hangs", kernels: inject.Kernels{Window: 500 * time.Millisecond, Period: time.Second}})
	h.load(Running)
	slow, began := 0, time.Now()
	for time.Since(began) < 2*time.Second { // in which a window is to be opened
		before := time.Now()
		h.do("launch 1 10 7 5000 3 0")
		if took := time.Since(before); took > 80*time.Millisecond {
			slow++
			qt.Assert(t, qt.IsTrue(took < 3*time.Second), qt.Commentf("%v", took))
		}
		time.Sleep(2 * time.Millisecond)
	}
	qt.Assert(t, qt.IsTrue(slow <= 2), qt.Commentf("%d", slow))
	h.exits("exit 0", 0)
}

// TestNoWindowsWhileGraphsAreMade: a window that is open is closed before a graph is captured
// (the mock would abort), none is opened until graphs were long made, and then they come again.
func TestNoWindowsWhileGraphsAreMade(t *testing.T) {
	h := newHost(t, hostOptions{kernels: inject.Kernels{Window: 300 * time.Millisecond, Period: 400 * time.Millisecond}})
	h.load(Running)
	windows := func() []wire.CUPTIWindow { return each(h, wire.KindCUPTIWindow, (*wire.CUPTIWindow).Read) }
	h.until("a window", func() bool { return len(windows())%2 == 1 })
	qt.Assert(t, qt.Equals(h.do("make 500"), "made")) // 1.5 s
	h.poll()
	time.Sleep(100 * time.Millisecond)
	h.poll()
	before := len(windows())
	qt.Assert(t, qt.Equals(before%2, 0))
	closed := windows()[before-1].Ended
	h.until("windows again", func() bool { return len(windows()) >= before+4 })
	qt.Assert(t, qt.IsTrue(windows()[before].Began > closed+3e9), qt.Commentf("%d", windows()[before].Began-closed))
	qt.Assert(t, qt.HasLen(h.reader.Losses(), 0))
	h.exits("exit 0", 0)
}

// TestCUDA12: CUPTI of CUDA 12 hands on replays only if it is forced to.
func TestCUDA12(t *testing.T) {
	h := newHost(t, hostOptions{mock: "cuda12"})
	h.load(Running)
	qt.Assert(t, qt.Equals(h.state.CUPTI, 28))
	h.do("launch 5 10 7 5000 4 0")
	h.until("all there", func() bool { return h.count(wire.KindCUPTIReplay) == 5 })
	h.do("launch 5 10 7 5000 4 0")
	h.until("all there, later", func() bool { return h.count(wire.KindCUPTIReplay) == 10 })
	h.exits("exit 0", 0)
}

// TestAlways: kernels all the time.
func TestAlways(t *testing.T) {
	h := newHost(t, hostOptions{kernels: inject.Kernels{Window: 1, Period: 1}})
	h.load(Running)
	qt.Assert(t, qt.IsTrue(h.state.Always))
	h.do("launch 20 10 7 5000 4 0")
	h.do("kernel %s 700", string(make([]byte, 0))+"_Z5alonev")
	long := make([]byte, 5000)
	for i := range long {
		long[i] = 'x'
	}
	h.do("kernel %s 700", long)
	h.until("all there", func() bool { return h.count(wire.KindCUPTIKernel) == 82 })
	qt.Assert(t, qt.Equals(h.count(wire.KindCUPTIReplay), 0))
	names := each(h, wire.KindCUPTIName, (*wire.CUPTIName).Read)
	qt.Assert(t, qt.HasLen(names, 6))
	qt.Assert(t, qt.Equals(string(names[4].Name), "_Z5alonev"))
	qt.Assert(t, qt.HasLen(names[5].Name, 4000))
	qt.Assert(t, qt.Equals(names[5].Flags, wire.CUPTINameCut))
}

// TestRingFull: what finds no room is counted, nothing else is harmed, and it goes on.
func TestRingFull(t *testing.T) {
	h := newHost(t, hostOptions{ring: minRing})
	h.load(Running)
	h.do("launch 5000 10 7 5000 4 0") // 640 KB
	time.Sleep(500 * time.Millisecond)
	h.until("counted", func() bool { return h.lost("full") > 0 })
	h.do("launch 1 11 7 5000 4 0")
	h.until("the last there", func() bool {
		calls := each(h, wire.KindCUPTICall, (*wire.CUPTICall).Read)
		return calls[len(calls)-1].Exec == 0x11
	})
	h.until("all accounted for", func() bool { return uint64(len(h.events))+h.lost("full") == 2*5001 })
	last := uint32(0)
	for _, c := range each(h, wire.KindCUPTICall, (*wire.CUPTICall).Read) {
		qt.Assert(t, qt.IsTrue(c.Seq >= last))
		last = c.Seq
	}
}

// TestManyThreads: launches of many threads at the same time come whole.
func TestManyThreads(t *testing.T) {
	h := newHost(t, hostOptions{ring: 1 << 20})
	h.load(Running)
	done := make(chan string)
	go func() {
		fmt.Fprintln(h.in, "threads 8 3000")
		done <- h.line()
	}()
	finished := false
	h.until("done", func() bool {
		select {
		case <-done:
			finished = true
		default:
		}
		return finished && uint64(len(h.events))+h.lost("full")+h.lost("no_buffer") >= 2*8*3000
	})
	seen := map[uint64]int{}
	for _, c := range each(h, wire.KindCUPTICall, (*wire.CUPTICall).Read) {
		seen[c.Exec-0x1000]++
	}
	total := uint64(0)
	for exec, n := range seen {
		qt.Assert(t, qt.IsTrue(exec < 8 && n <= 3000))
		total += uint64(n)
	}
	qt.Assert(t, qt.Equals(h.lost("damaged"), 0))
	qt.Assert(t, qt.IsTrue(total+h.lost("full") >= 8*3000), qt.Commentf("%d, %v", total, h.reader.Losses()))
}

// TestStop: asked for no more, the library switches all off; the process goes on.
func TestStop(t *testing.T) {
	h := newHost(t, hostOptions{})
	h.load(Running)
	h.do("launch 10 10 7 5000 4 0")
	qt.Assert(t, qt.Equals(h.enabled(), 3))
	h.stopped = true
	h.until("ended", h.is(Ended))
	qt.Assert(t, qt.Equals(h.enabled(), 0))
	qt.Assert(t, qt.Equals(h.count(wire.KindCUPTIReplay), 10))
	h.do("launch 10 10 7 5000 4 0")
	qt.Assert(t, qt.Equals(h.count(wire.KindCUPTICall), 10))
	qt.Assert(t, qt.IsFalse(h.reader.Busy()))
	h.exits("exit 4", 4)
}

// TestAbandoned: pmtrace is dead; the library is quiet, and the process goes on.
func TestAbandoned(t *testing.T) {
	h := newHost(t, hostOptions{env: []string{"PMTRACE_CUPTI_PATIENCE=300000000"}})
	h.load(Running)
	qt.Assert(t, qt.Equals(h.enabled(), 3))
	for end := time.Now().Add(10 * time.Second); h.enabled() != 0; time.Sleep(20 * time.Millisecond) {
		qt.Assert(t, qt.IsTrue(time.Now().Before(end)))
	}
	h.do("launch 10 10 7 5000 4 0")
	h.poll()
	qt.Assert(t, qt.Equals(h.state.State, Quiet.String()))
	qt.Assert(t, qt.HasLen(h.events, 0))
	h.exits("exit 5", 5)
}

// TestFork: a child does nothing, whatever it calls, and ends nothing.
func TestFork(t *testing.T) {
	h := newHost(t, hostOptions{})
	h.load(Running)
	h.do("launch 1 10 7 5000 4 0")
	qt.Assert(t, qt.Equals(h.do("fork"), "0"))
	h.do("launch 1 11 7 5000 4 0")
	h.until("all there", func() bool { return h.count(wire.KindCUPTICall) == 2 })
	for _, c := range each(h, wire.KindCUPTICall, (*wire.CUPTICall).Read) {
		qt.Assert(t, qt.Not(qt.Equals(c.Exec, 0xbad)))
	}
	qt.Assert(t, qt.Equals(h.state.State, Running.String()))
}

// TestKilled: a process that ends without a word leaves what it has written.
func TestKilled(t *testing.T) {
	h := newHost(t, hostOptions{})
	h.load(Running)
	h.do("launch 10 10 7 5000 4 0")
	qt.Assert(t, qt.IsTrue(h.reader.Busy()))
	h.exits("_exit 6", 6)
	h.until("all there", func() bool { return h.count(wire.KindCUPTICall) == 10 })
	qt.Assert(t, qt.IsFalse(h.reader.Busy()))
}

// TestFailures: whatever of CUPTI's fails, the header says so, all is off, and the
// process goes on to its own end.
func TestFailures(t *testing.T) {
	for _, c := range []struct {
		name, mock string
		env        []string
		without    bool
		why        string
		code       int
	}{
		{name: "no libcupti", without: true, env: []string{"LD_LIBRARY_PATH=/nonexistent"}, why: "no libcupti.so.13 or libcupti.so.12 beside the process's libcudart or on its library path"},
		{name: "version", mock: "fail:cuptiGetVersion", why: "cuptiGetVersion", code: 999},
		{name: "clock", mock: "fail:cuptiActivityRegisterTimestampCallback", why: "cuptiActivityRegisterTimestampCallback", code: 999},
		{name: "buffers", mock: "fail:cuptiActivityRegisterCallbacks", why: "cuptiActivityRegisterCallbacks", code: 999},
		{name: "replays", mock: "fail:cuptiActivityEnable:51", why: "cuptiActivityEnable(GRAPH_TRACE)", code: 999},
		{name: "copies", mock: "fail:cuptiActivityEnable:1", why: "cuptiActivityEnable(MEMCPY)", code: 999},
		{name: "flush", mock: "fail:cuptiActivityFlushAll", why: "cuptiActivityFlushAll", code: 999},
		{name: "another version of pmtrace", env: []string{"PMTRACE_CUPTI_PROTOCOL=2"}, why: "the library and pmtrace are of different versions"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := newHost(t, hostOptions{mock: c.mock, env: c.env, without: c.without})
			h.load(Failed)
			qt.Assert(t, qt.Equals(h.state.Why, c.why))
			qt.Assert(t, qt.Equals(h.state.Error, c.code))
			if !c.without {
				qt.Assert(t, qt.Equals(h.enabled(), 0))
				h.do("launch 10 10 7 5000 4 0")
			}
			qt.Assert(t, qt.Equals(h.count(wire.KindCUPTIReplay), 0))
			h.exits("exit 7", 7)
		})
	}
}

// TestWithout: what is not essential is done without, and the header says so.
func TestWithout(t *testing.T) {
	h := newHost(t, hostOptions{mock: "subscribed"})
	h.load(Running)
	qt.Assert(t, qt.IsFalse(h.state.Calls))
	qt.Assert(t, qt.Equals(h.state.Note, "graph launches are told by order: another tool has CUPTI's callbacks: CUPTI's error 39"))
	h.do("launch 10 10 7 5000 4 0")
	h.until("all there", func() bool { return h.count(wire.KindCUPTIReplay) == 10 })
	qt.Assert(t, qt.Equals(h.count(wire.KindCUPTICall), 0))

	h = newHost(t, hostOptions{mock: "fail:cuptiActivityEnable:10", kernels: inject.Kernels{Window: 100 * time.Millisecond, Period: 200 * time.Millisecond}})
	h.load(Running)
	h.until("told", func() bool { return h.state.NoWindows })
	h.do("launch 10 10 7 5000 4 0")
	h.until("all there", func() bool { return h.count(wire.KindCUPTIReplay) == 10 })

	h = newHost(t, hostOptions{mock: "invalid"})
	h.load(Running)
	h.do("launch 10 10 7 5000 4 0")
	h.until("counted", func() bool { return h.lost("invalid_record") > 0 && h.count(wire.KindCUPTIReplay) > 0 })

	h = newHost(t, hostOptions{mock: "dropped"})
	h.load(Running)
	h.do("launch 10 10 7 5000 4 0")
	h.until("counted", func() bool { return h.lost("cupti_dropped")%3 == 0 && h.lost("cupti_dropped") > 0 })
}

// TestNothing: without pmtrace's variable the library does nothing.
func TestNothing(t *testing.T) {
	h := newHost(t, hostOptions{env: []string{"PMTRACE_CUPTI_DIR="}})
	qt.Assert(t, qt.Equals(h.do("load"), "1"))
	qt.Assert(t, qt.Equals(h.enabled(), 0))
	list, err := os.ReadDir(h.inject.Dir)
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.HasLen(list, 1))
}

// TestOtherSession: a ring of another session is none of ours.
func TestOtherSession(t *testing.T) {
	h := newHost(t, hostOptions{env: []string{"PMTRACE_CUPTI_SESSION=5"}})
	qt.Assert(t, qt.Equals(h.do("load"), "1"))
	h.until("refused", func() bool { return h.lost("no_ring") == 1 })
	qt.Assert(t, qt.Equals(h.state.State, ""))
}

// TestRemove: nothing stays behind.
func TestRemove(t *testing.T) {
	h := newHost(t, hostOptions{})
	h.load(Running)
	qt.Assert(t, qt.IsNil(h.reader.Close()))
	qt.Assert(t, qt.IsNil(h.inject.Remove()))
	_, err := os.Stat(h.inject.Dir)
	qt.Assert(t, qt.ErrorIs(err, os.ErrNotExist))
	h.do("launch 10 10 7 5000 4 0")
	h.exits("exit 8", 8)
}
