package probes_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/go-quicktest/qt"
	"golang.org/x/sys/unix"

	"github.com/pmtrace/pmtrace/decode/wire"
	"github.com/pmtrace/pmtrace/probes"
	"github.com/pmtrace/pmtrace/probes/cuda"
)

// costFile, where set, is the file that TestRowCosts writes its table to
// (make bench-calls).
const costFile = "PMTRACE_ROW_COSTS"

const (
	costCalls  = 20_000 // of a row in one stretch
	costRounds = 7      // stretches with and without, in turn
	costDepth  = 20     // Python frames above the call
)

// rowCost is what a row's probes cost the thread that calls, ns a call.
type rowCost struct {
	added   float64 // CPU time, the least with less the least without: what else ran only adds
	program float64 // in the BPF programs, by the kernel's count: median of the rounds
}

// TestRowCosts measures what each row costs: nothing to pass or fail, a table.
func TestRowCosts(t *testing.T) {
	path := os.Getenv(costFile)
	if path == "" {
		t.Skip("measures for a minute: make bench-calls")
	}
	needRoot(t)
	stats, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
	qt.Assert(t, qt.IsNil(err))
	defer stats.Close()
	libs := map[cuda.Kind]string{cuda.Runtime: runtimeStub(t), cuda.Driver: driverStub(t), cuda.NCCL: ncclStub(t)}

	var out strings.Builder
	fmt.Fprintf(&out, "# What a probed call costs\n\nWritten by `make bench-calls` on %s: the calling thread's own CPU time a call, with\n"+
		"the row's probes less without (least of %d stretches each, in turn, of %d calls from under\n%d Python frames), "+
		"and the time in pmtrace's BPF programs by the kernel's statistics. The\nfunctions called do nothing. "+
		"Counted: seen, and told as a number with the next phase.\nRecorded: an event of its own. "+
		"The rest\nof what is added is the kernel's trap: about 1 µs where it can emulate the instruction under\nthe probe, as at the functions of libcudart (push) and libcuda (a jump, 10 bytes in), and 10 µs\nin a virtual machine where it has to step over it.\n\n",
		time.Now().UTC().Format(time.DateOnly), costRounds, costCalls, costDepth)
	out.WriteString("| row | function | set | by default | counted: added, BPF (µs) | recorded: added, BPF (µs) |\n|---|---|---|---|---|---|\n")
	lean := append(probes.LeanSets(), probes.SetLaunches) // launches come with the profilers cpu and encoder_decoder
	for _, r := range probes.Rows() {
		if r.Static {
			continue
		}
		cells := [2]string{"–", "–"}
		always := alwaysRecorded(r)
		if !always {
			cells[0] = costOf(t, r, libs, false).String()
		}
		cells[1] = costOf(t, r, libs, true).String()
		def := "no"
		if slices.Contains(lean, r.Set) {
			def = "counted"
			switch {
			case r.Row == wire.RowStreamSync || r.Row == wire.RowDeviceSync:
				def = "recorded where it may end a step"
			case always:
				def = "recorded"
			}
		}
		fmt.Fprintf(&out, "| `%s` | `%s` | %s | %s | %s | %s |\n", r.Name, r.Functions[0].Names[0], r.Set, def, cells[0], cells[1])
	}
	qt.Assert(t, qt.IsNil(os.WriteFile(path, []byte(out.String()), 0o644)))
}

func (c rowCost) String() string { return fmt.Sprintf("%.2f, %.2f", c.added/1e3, c.program/1e3) }

// alwaysRecorded are rows of which each call is an event (bpf/cuda.bpf.c).
func alwaysRecorded(r probes.Row) bool {
	switch r.Row {
	case wire.RowCopy, wire.RowLaunch, wire.RowEventRecord:
		return false
	}
	return slices.Contains(probes.LeanSets(), r.Set)
}

func costOf(t *testing.T, r probes.Row, libs map[cuda.Kind]string, recorded bool) rowCost {
	t.Helper()
	calls := probes.Calls{Sets: []probes.Set{r.Set}}
	if recorded {
		calls.Record = []wire.Row{r.Row}
	}
	c := startCaller(t, nil, "3.12")
	c.do(nil, "load", string(cuda.Runtime), libs[cuda.Runtime]) // a worker has one
	c.do(nil, "load", string(r.Library), libs[r.Library])
	measure := func() float64 {
		var s float64
		c.do(&s, "cost", costDepth, string(r.Library), r.Functions[0].Names[0], costCalls)
		return s * 1e9
	}
	measure() // warm
	var without, with, program []float64
	for range costRounds {
		without = append(without, measure())
		tr := startTracing(t, probes.Options{RingBytes: 32 << 20, Calls: calls})
		tr.attach(c, c.model(), probes.WorkerSpec{})
		with = append(with, measure())
		costs, err := tr.tracer.Cost()
		qt.Assert(t, qt.IsNil(err))
		runs := time.Duration(0)
		for _, cost := range costs {
			runs += cost.Time
		}
		program = append(program, float64(runs.Nanoseconds())/costCalls)
		tr.end()
		qt.Assert(t, qt.IsNil(tr.tracer.Close())) // the next stretch is without
	}
	slices.Sort(program)
	return rowCost{slices.Min(with) - slices.Min(without), program[costRounds/2]}
}
