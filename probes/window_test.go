package probes_test

import (
	"fmt"
	"testing"

	"github.com/go-quicktest/qt"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/decode/wire"
	"github.com/pmtrace/pmtrace/probes"
)

// TestCallWindow: what is probed in windows is seen in them alone, by uprobe_multi and by plain
// uprobes, and what is probed always all the time.
func TestCallWindow(t *testing.T) {
	for _, plain := range []bool{false, true} {
		t.Run(fmt.Sprintf("plain=%v", plain), func(t *testing.T) {
			needMulti(t, !plain)
			tr := startTracing(t, probes.Options{Calls: probes.Calls{Sets: everySet, Windowed: []probes.Set{probes.SetCollectives}, Plain: plain}})
			c := startCaller(t, nil, "3.12")
			c.do(nil, "load", "cudart", runtimeStub(t))
			c.do(nil, "load", "nccl", ncclStub(t))
			fact, _ := tr.attach(c, c.model(), probes.WorkerSpec{})
			qt.Assert(t, qt.IsTrue(fact.CallsInWindows))
			calls := 1
			call := func() {
				c.call("cudart", "cudaGraphLaunch", calls, 7)
				c.call("nccl", "ncclAllReduce", 1, 2, calls, 9, 0, 3, 21)
				calls++
			}
			call() // 1
			qt.Assert(t, qt.HasLen(tr.tracer.EndWindow(), 0))
			var spans []record.CallWindow
			for range 2 {
				opened := tr.tracer.OpenWindow()
				qt.Assert(t, qt.HasLen(opened, 1))
				call() // 2, 4
				ended := tr.tracer.EndWindow()
				qt.Assert(t, qt.HasLen(ended, 1))
				tr.tracer.CloseWindow()
				call() // 3, 5
				qt.Assert(t, qt.Equals(opened[0].CallWindow.BeginNS, ended[0].CallWindow.BeginNS))
				qt.Assert(t, qt.Equals(opened[0].CallWindow.EndNS, 0))
				spans = append(spans, *ended[0].CallWindow)
			}
			tr.tracer.OpenWindow() // open at the end
			call()                 // 6
			tr.end()

			var launched, reduced []uint64
			for _, got := range tr.calls {
				switch got.Row {
				case wire.RowGraphLaunch:
					launched = append(launched, got.A)
				case wire.RowAllReduce:
					reduced = append(reduced, got.A)
					if n := len(reduced); n <= len(spans) {
						s := spans[n-1]
						qt.Check(t, qt.IsTrue(uint64(s.BeginNS) <= got.Ktime && got.Ktime <= uint64(s.EndNS)), qt.Commentf("%d not in %+v", got.Ktime, s))
					}
				}
			}
			qt.Check(t, qt.DeepEquals(launched, []uint64{1, 2, 3, 4, 5, 6}))
			qt.Check(t, qt.DeepEquals(reduced, []uint64{2, 4, 6}))
		})
	}
}
