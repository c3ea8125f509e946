package probes_test

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-quicktest/qt"

	"github.com/pmtrace/pmtrace/decode"
	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/probes"
	"github.com/pmtrace/pmtrace/probes/hook"
)

const rounds = 600

// hookedRun is what a run of testdata/hooked.py gave: by the program's own word, and by the tables.
type hookedRun struct {
	truth struct {
		Calls     map[string]uint64
		Args      map[string][][]any
		Durations map[string][]int64
		Seconds   float64
	}
	rows    map[string][]record.HookRow
	facts   map[string]record.Hook
	counts  map[string]record.HookCount
	changed []record.Hook
	losses  []record.Loss
	missing []record.Unavailable
}

type hookRows struct {
	record.Discard
	rows []record.HookRow
}

func (r *hookRows) Hook(x *record.HookRow) error { r.rows = append(r.rows, *x); return nil }

// specs are hooks as --hook has them.
func specs(t testing.TB, list ...string) []hook.Spec {
	t.Helper()
	var out []hook.Spec
	for _, text := range list {
		s, err := hook.Parse(text)
		qt.Assert(t, qt.IsNil(err))
		out = append(out, s)
	}
	return out
}

// runHooked runs the program with hooks on it.
func runHooked(t *testing.T, version string, opts probes.Options, args ...string) *hookedRun {
	t.Helper()
	return runProgram(t, startProgram(t, append([]string{interpreter(t, version), "testdata/hooked.py"}, args...)), opts)
}

func runProgram(t *testing.T, p *program, opts probes.Options) *hookedRun {
	t.Helper()
	tracer, err := probes.New(opts)
	qt.Assert(t, qt.IsNil(err))
	defer tracer.Close()
	main, err := hook.OpenMain(p.pid, false)
	qt.Assert(t, qt.IsNil(err))

	r := &hookedRun{rows: map[string][]record.HookRow{}, facts: map[string]record.Hook{}, counts: map[string]record.HookCount{}}
	sink := &hookRows{}
	pipe := decode.NewPipeline(sink, decode.Options{OnError: func(err error) { t.Error(err) }})
	fact := func(f record.Fact) {
		b, err := json.Marshal(f)
		qt.Assert(t, qt.IsNil(err))
		qt.Assert(t, qt.IsNil(pipe.Record(decode.RecordFact, b)))
	}
	facts, missing := tracer.AttachHooks(probes.HookProcess{
		PID: p.pid, Process: hook.Worker, Thread: main.TID, State: main.State, Python: main.Python,
	})
	r.missing = missing
	for _, f := range facts {
		r.facts[f.Name] = f
		fact(record.Fact{Hook: &f})
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	look := func() {
		counts, changed, err := tracer.LookAtHooks()
		qt.Assert(t, qt.IsNil(err))
		r.changed = append(r.changed, changed...)
		for _, c := range counts {
			r.counts[facts[c.Hook].Name] = c
		}
	}
	go func() {
		last := time.Now()
		done <- tracer.Run(ctx, func(event []byte) error { return pipe.Record(decode.RecordEvent, event) }, func() error {
			if time.Since(last) > time.Second {
				last = time.Now()
				look()
			}
			return nil
		})
	}()
	_, err = io.WriteString(p.stdin, "go\n")
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.IsNil(json.Unmarshal([]byte(p.line()), &r.truth)))
	cancel()
	qt.Assert(t, qt.IsNil(<-done))
	look()
	r.losses, err = tracer.Losses()
	qt.Assert(t, qt.IsNil(err))
	_, err = pipe.Close()
	qt.Assert(t, qt.IsNil(err))
	for _, row := range sink.rows {
		r.rows[row.Hook] = append(r.rows[row.Hook], row)
	}
	return r
}

// inWorker makes hooks those of a process that is no engine's.
func inWorker(list []hook.Spec) []hook.Spec {
	for i := range list {
		list[i].Process, list[i].Rate, list[i].Limit = hook.Worker, 1e6, 0
	}
	return list
}

// arguments gives the captured values of a row, in the order of its hook's.
func arguments(t *testing.T, f record.Hook, row record.HookRow) []any {
	t.Helper()
	var m map[string]any
	d := json.NewDecoder(strings.NewReader(row.Arguments))
	qt.Assert(t, qt.IsNil(d.Decode(&m)))
	out := make([]any, len(f.Arguments))
	for i, a := range f.Arguments {
		out[i] = m[a.Name]
	}
	return out
}

// Each call is a row, with what it was called with, however functions call and leave one
// another.
func TestHookCalls(t *testing.T) {
	needRoot(t)
	const m = "py:__main__:"
	add := m + "Worker.add(item.n, len(item.text), item.part.n, item.part.items.__len__, item.queue, self.running, flag, limit)"
	for _, version := range versions {
		for _, c := range []struct {
			name  string
			hooks []string
		}{
			{"arguments", []string{add, m + "Worker.loop(n)"}},
			{"exceptions", []string{m + "Worker.fail", m + "Worker.nest_or_fail"}},
			{"recursion", []string{m + "Worker.nest(n)", m + "Worker.ints(n)"}},
			{"returns", []string{m + "Worker.many(n)", m + "function(item)", m + "generate(n)"}},
			{"cells", []string{m + "Worker.closed(item.n)"}},
			{"durations", []string{m + "Worker.wait(seconds)", m + "Worker.cold(n)"}},
		} {
			t.Run(version+"/"+c.name, func(t *testing.T) {
				r := runHooked(t, version, probes.Options{Hooks: inWorker(specs(t, c.hooks...))}, "work", strconv.Itoa(rounds))
				qt.Assert(t, qt.HasLen(r.missing, 0))
				for full, f := range r.facts {
					name := full[strings.LastIndexByte(full, '.')+1:]
					calls := r.truth.Calls[name]
					at := qt.Commentf("%s: %d rows, %+v, losses %v", full, len(r.rows[full]), r.counts[full], r.losses)
					qt.Check(t, qt.IsTrue(calls > 0), at)
					qt.Check(t, qt.Equals(r.counts[full].Calls, calls), at)
					qt.Check(t, qt.Equals(uint64(len(r.rows[full])), calls-openAtEnd(name)), at)
					qt.Check(t, qt.Equals(r.counts[full].NotTold, 0), at)
					checkArguments(t, f, r.rows[full], r.truth.Args[name])
				}
				checkOutcomes(t, r)
			})
		}
	}
}

// openAtEnd is how many calls go on for ever: those that an exception ended last, since
// only the next call shows it.
func openAtEnd(name string) uint64 {
	if name == "nest_or_fail" {
		return (rounds-1)%5 + 1
	}
	return 0
}

func checkArguments(t *testing.T, f record.Hook, rows []record.HookRow, want [][]any) {
	t.Helper()
	if len(f.Arguments) == 0 || want == nil {
		return
	}
	for i, row := range rows {
		got := arguments(t, f, row)
		qt.Assert(t, qt.DeepEquals(got, want[row.Call][:len(got)]), qt.Commentf("%s, row %d: %s", f.Name, i, row.Arguments))
	}
}

// checkOutcomes compares how calls ended, and how long they took, with what the program's
// functions do.
func checkOutcomes(t *testing.T, r *hookedRun) {
	t.Helper()
	for name, f := range r.facts {
		for i, row := range r.rows[name] {
			at := qt.Commentf("%s, row %d: %+v", name, i, row)
			qt.Assert(t, qt.Equals(row.Thread, int32(f.Thread)), at)
			switch {
			case !f.Duration:
				qt.Assert(t, qt.IsTrue(f.NoDuration != "" && row.Outcome == nil && row.DurNS == nil), at)
			case strings.HasSuffix(name, "fail"):
				qt.Assert(t, qt.IsTrue(*row.Outcome == record.HookRaised && row.DurNS == nil), at)
			default:
				qt.Assert(t, qt.IsTrue(*row.Outcome == record.HookReturned && *row.DurNS > 0), at)
			}
		}
	}
	// The caller's watch has the call and the return besides, and the machine may do something
	// else between the two.
	var more []int64
	waits := r.rows["Worker.wait"]
	for i, want := range r.truth.Durations["wait"] {
		if len(waits) > 0 {
			more = append(more, want-*waits[i].DurNS)
			qt.Check(t, qt.IsTrue(*waits[i].DurNS >= int64(i%7+1)*1_000_000 && more[i] >= 0), qt.Commentf("wait %d: %d ns, %d by its caller", i, *waits[i].DurNS, want))
		}
	}
	if slices.Sort(more); len(more) > 0 {
		qt.Check(t, qt.IsTrue(more[len(more)/2] < 500_000), qt.Commentf("median of the difference: %d ns", more[len(more)/2]))
	}
}

// However often a function was called before it is watched, also as CPython 3.11 is about to
// quicken its code, each call from then on is one.
func TestWarmHook(t *testing.T) {
	needRoot(t)
	for before := range 10 {
		t.Run(strconv.Itoa(before), func(t *testing.T) {
			r := runHooked(t, "3.11", probes.Options{Hooks: inWorker(specs(t, "py:__main__:Worker.cold(n)"))}, "warm", strconv.Itoa(before))
			qt.Assert(t, qt.Equals(r.counts["Worker.cold"].Calls, 12), qt.Commentf("%v", r.losses))
			qt.Assert(t, qt.HasLen(r.rows["Worker.cold"], 12))
			checkArguments(t, r.facts["Worker.cold"], r.rows["Worker.cold"], r.truth.Args["cold"])
			checkOutcomes(t, r)
		})
	}
}

// A function that is called as often as can be is counted to the last call, though not
// each is told of; and it is watched no longer where that costs too much.
func TestHotHook(t *testing.T) {
	needRoot(t)
	for _, version := range versions {
		t.Run(version, func(t *testing.T) {
			list := inWorker(specs(t, "py:__main__:Worker.hot(n)"))
			list[0].Rate, list[0].Duration = 1000, new(bool)
			r := runHooked(t, version, probes.Options{Hooks: list}, "heat", "1.2")
			c := r.counts["Worker.hot"]
			rows := uint64(len(r.rows["Worker.hot"]))
			qt.Check(t, qt.Equals(c.Calls, r.truth.Calls["hot"]))
			qt.Check(t, qt.Equals(c.NotTold, c.Calls-rows))
			// A tenth of the second's rows comes in each tenth in which it runs: not all, on a busy machine.
			qt.Check(t, qt.IsTrue(rows >= 500 && rows <= 1500), qt.Commentf("%d rows", rows))
			qt.Check(t, qt.HasLen(r.changed, 0))
			t.Logf("%.0f calls/s, %d told of", float64(c.Calls)/r.truth.Seconds, rows)
		})
	}
	t.Run("taken off", func(t *testing.T) {
		list := inWorker(specs(t, "py:__main__:Worker.hot(n)"))
		list[0].Rate, list[0].Limit = 1000, 20_000
		r := runHooked(t, "3.13", probes.Options{Hooks: list}, "heat", "4")
		c := r.counts["Worker.hot"]
		qt.Assert(t, qt.HasLen(r.changed, 1))
		qt.Check(t, qt.StringContains(r.changed[0].Ended, "more than 20000"))
		qt.Check(t, qt.IsTrue(c.Calls < r.truth.Calls["hot"]/4), qt.Commentf("%d of %d", c.Calls, r.truth.Calls["hot"]))
		t.Logf("%d calls until it was taken off, %d in all", c.Calls, r.truth.Calls["hot"])
	})
	t.Run("unwatched", func(t *testing.T) {
		r := runHooked(t, "3.13", probes.Options{}, "heat", "1.2")
		t.Logf("%.0f calls/s", float64(r.truth.Calls["hot"])/r.truth.Seconds)
	})
}

// frob makes a library with a function that counts its calls.
func frob(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "libfrob.so.1")
	out, err := exec.Command("gcc", "-O1", "-fno-omit-frame-pointer", "-shared", "-fPIC", "-o", path, "testdata/frob.c").CombinedOutput()
	qt.Assert(t, qt.IsNil(err), qt.Commentf("%s", out))
	return path
}

// A C function's calls are those that the library counts, from whichever thread.
func TestHookLibrary(t *testing.T) {
	needRoot(t)
	path := frob(t)
	for _, plain := range []bool{false, true} {
		t.Run(map[bool]string{false: "multi", true: "plain"}[plain], func(t *testing.T) {
			needMulti(t, !plain)
			list := inWorker(specs(t, "c:libfrob.so:frob(0, 1:u32, 2:ptr, 3:i32, ret)"))
			r := runHooked(t, "3.13", probes.Options{Hooks: list, Calls: probes.Calls{Plain: plain}}, "library", path, "2000")
			qt.Assert(t, qt.HasLen(r.missing, 0))
			rows := r.rows["frob"]
			qt.Assert(t, qt.Equals(r.truth.Calls["frob"], 4000))
			qt.Assert(t, qt.Equals(r.counts["frob"].Calls, 4000))
			qt.Assert(t, qt.HasLen(rows, 4000))
			qt.Check(t, qt.Equals(r.facts["frob"].File, path))
			seen, threads := map[int64]bool{}, map[int32]int{}
			for _, row := range rows {
				at := qt.Commentf("%+v", row)
				got := arguments(t, r.facts["frob"], row)
				n := got[0].(float64)
				sign := 1.0
				if n < 0 {
					sign = -1
				}
				qt.Assert(t, qt.DeepEquals(got, []any{n, sign * n, 4096.0, -sign * n}), at)
				qt.Assert(t, qt.IsNotNil(row.Result), at)
				qt.Assert(t, qt.Equals(*row.Result, int64(2*n)), at)
				qt.Assert(t, qt.Equals(*row.Outcome, record.HookReturned), at)
				qt.Assert(t, qt.IsTrue(*row.DurNS > 0), at)
				qt.Assert(t, qt.IsFalse(seen[row.Call]), at)
				seen[row.Call] = true
				threads[row.Thread]++
			}
			qt.Check(t, qt.HasLen(threads, 2))
			for _, n := range threads {
				qt.Check(t, qt.Equals(n, 2000))
			}
		})
	}
}

// In a container: a PID namespace of its own, and a library that only its mounts have.
func TestHookNamespaces(t *testing.T) {
	needRoot(t)
	library, place := frob(t), t.TempDir()
	inside := filepath.Join(place, filepath.Base(library))
	script := `mount -t tmpfs none "$1" && cp "$2" "$1/" && shift 2 && exec "$@"`
	for _, version := range []string{"3.11", "3.14"} {
		t.Run(version, func(t *testing.T) {
			p := startProgram(t, []string{"unshare", "--pid", "--mount", "--fork", "--mount-proc", "sh", "-c", script, "sh", place, library,
				interpreter(t, version), "testdata/hooked.py", "library", inside, "500"})
			p.pid = childOf(t, p.cmd.Process.Pid)
			_, err := os.Stat(inside)
			qt.Assert(t, qt.ErrorIs(err, os.ErrNotExist))
			r := runProgram(t, p, probes.Options{Hooks: inWorker(specs(t, "c:libfrob.so:frob(0, ret)", "py:__main__:library(rounds)"))})
			qt.Assert(t, qt.HasLen(r.missing, 0))
			qt.Check(t, qt.Equals(r.facts["frob"].File, inside))
			qt.Check(t, qt.Equals(r.truth.Calls["frob"], 1000))
			qt.Check(t, qt.HasLen(r.rows["frob"], 1000))
			qt.Assert(t, qt.HasLen(r.rows["library"], 1))
			qt.Check(t, qt.Equals(r.rows["library"][0].Arguments, `{"rounds":500}`))
		})
	}
}

// What is not there is refused in one line, with what is.
func TestHookNotFound(t *testing.T) {
	needRoot(t)
	for _, test := range []struct{ spec, want string }{
		{"py:__main__:Worker.ad", "hook py:__main__:Worker.ad: Worker has no ad; there is add"},
		{"py:__main__:Workers.add", "hook py:__main__:Workers.add: __main__ has no Workers; there is Worker.*"},
		{"py:__main_:Worker.add", "hook py:__main_:Worker.add: the process has not imported __main_; there is __main__"},
		{"py:__main__:Worker.add(items)", "hook py:__main__:Worker.add: it has no argument items; there is self, item, flag, limit"},
		{"py:__main__:truth", "hook py:__main__:truth: it is no Python function; .*"},
		{"py:__main__:function.add", "hook py:__main__:function.add: function is no class; .*"},
		{"c:libfrob.so:frob", "hook c:libfrob.so:frob: process \\d+ has mapped no file libfrob.so; .*"},
		{"c:libc.so:mallo", "hook c:libc.so:mallo: .*libc.so.6 exports no function mallo; there is .*malloc.*"},
	} {
		t.Run(test.spec, func(t *testing.T) {
			r := runHooked(t, "3.12", probes.Options{Hooks: inWorker(specs(t, test.spec))}, "work", "1")
			qt.Assert(t, qt.HasLen(r.missing, 1))
			qt.Check(t, qt.Matches(r.missing[0].Reason, test.want))
		})
	}
}
