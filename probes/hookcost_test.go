package probes_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-quicktest/qt"

	"github.com/pmtrace/pmtrace/probes"
	"github.com/pmtrace/pmtrace/probes/hook"
)

// hookCostFile, where set, is the file that TestHookCosts writes its table to
// (make bench-hooks).
const hookCostFile = "PMTRACE_HOOK_COSTS"

const hookCostRounds = 5

// TestHookCosts measures what a call of a watched function costs: nothing to pass or fail, a
// table.
func TestHookCosts(t *testing.T) {
	path := os.Getenv(hookCostFile)
	if path == "" {
		t.Skip("measures for two minutes: make bench-hooks")
	}
	needRoot(t)
	library := frob(t)
	var out strings.Builder
	fmt.Fprintf(&out, "# What a call of a watched function costs\n\nWritten by `make bench-hooks` on %s: the calling thread's own CPU time a call, with the hook\n"+
		"less without (least of %d stretches of a second each, in turn), of a function that does nothing, called\n"+
		"as fast as can be under CPython 3.13. Counted: above its rate, so no row.\n\n| hook | what | added (µs) |\n|---|---|---|\n",
		time.Now().UTC().Format(time.DateOnly), hookCostRounds)
	no := new(bool)
	hot, frobbed := []string{"heat", "1"}, []string{"heat_library", library, "1"}
	const py, c = "py:__main__:Worker.hot", "c:libfrob.so:frob"
	for _, row := range []struct {
		spec, what string
		args       []string
		duration   *bool
		rate       int
	}{
		{py, "counted", hot, no, 10},
		{py, "told of", hot, no, 1e9},
		{py + "(n, self.total, len(self.running), self.done)", "told of, with 4 values", hot, no, 1e9},
		{py, "told of, with its duration (2 breakpoints)", hot, nil, 1e9},
		{c, "counted", frobbed, no, 10},
		{c + "(0, 1)", "told of, with 2 values", frobbed, no, 1e9},
		{c + "(0, 1, ret)", "told of, with 2 values, duration and result", frobbed, nil, 1e9},
	} {
		list := inWorker(specs(t, row.spec))
		list[0].Rate, list[0].Duration = row.rate, row.duration
		var with, without []float64
		for range hookCostRounds {
			without = append(without, nsACall(t, nil, row.args))
			with = append(with, nsACall(t, list, row.args))
		}
		added := (slices.Min(with) - slices.Min(without)) / 1e3
		fmt.Fprintf(&out, "| `%s` | %s | %.2f |\n", list[0], row.what, added)
	}
	qt.Assert(t, qt.IsNil(os.WriteFile(path, []byte(out.String()), 0o644)))
}

func nsACall(t *testing.T, hooks []hook.Spec, args []string) float64 {
	t.Helper()
	r := runHooked(t, "3.13", probes.Options{Hooks: hooks, RingBytes: 64 << 20}, args...)
	for _, calls := range r.truth.Calls {
		return r.truth.Seconds * 1e9 / float64(calls)
	}
	t.Fatal("no call")
	return 0
}
