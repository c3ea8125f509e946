package main

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/go-quicktest/qt"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/session"
	"github.com/pmtrace/pmtrace/probes/hook"
)

// Hooks are told of before their calls can come, their counters from time to time and at
// the end, and what becomes of them on stderr.
func TestHookFacts(t *testing.T) {
	pid, end := startServer(t)
	b := newBench(t)
	b.tracer.hooks = []record.Hook{
		{Hook: 0, Name: "f", Spec: "py:m:f", PID: 7, NoDuration: "the function returns in 5 places"}, {Hook: 1, Name: "g", Spec: "c:libfoo.so:g", PID: 7, Duration: true},
	}
	file := filepath.Join(t.TempDir(), "hooks.yaml")
	qt.Assert(t, qt.IsNil(os.WriteFile(file, []byte("hooks: [{py: 'm:served', process: api_server}]"), 0o600)))
	once(func() bool {
		return b.session.told(func(f record.Fact) bool { return f.HookCounts != nil }) > 0 && b.session.told(func(f record.Fact) bool { return f.Hook != nil }) > 3
	}, end)
	qt.Assert(t, qt.Equals(b.attachTo(t, pid, "--force-hooks", "--hook", "py:m:f", "--hook", "c:libfoo.so:g", "--hooks", file), 0), qt.Commentf("%s", b.err))

	at := func(want func(record.Fact) bool) (out []int) {
		for i, f := range b.session.facts {
			if want(f) {
				out = append(out, i)
			}
		}
		return out
	}
	engine := at(func(f record.Fact) bool { return f.Engine != nil })
	hooks := at(func(f record.Fact) bool { return f.Hook != nil })
	counts := at(func(f record.Fact) bool { return f.HookCounts != nil })
	qt.Assert(t, qt.HasLen(hooks, 4)) // two of the engine, the server's, and the one that was taken off
	qt.Check(t, qt.IsTrue(hooks[0] > engine[0] && hooks[1] == hooks[0]+1))
	qt.Check(t, qt.Equals(b.session.facts[hooks[3]].Hook.Ended, "called 30000 times a second"))
	qt.Assert(t, qt.IsTrue(len(counts) >= 1))
	qt.Check(t, qt.DeepEquals(b.session.facts[counts[len(counts)-1]].HookCounts.Counts, []record.HookCount{{Hook: 0, Calls: 5, NotTold: 1}, {Hook: 1, Calls: 5, NotTold: 1}}))
	qt.Check(t, qt.DeepEquals(b.tracer.hooked, map[hook.Process]int{hook.APIServer: 1}))
	qt.Check(t, qt.Equals(b.session.told(func(f record.Fact) bool { return f.Unavailable != nil && f.Unavailable.Profiler == session.Hooks }), 1))
	for _, line := range []string{
		"pmtrace: hook py:m:f in process 7, without durations: the function returns in 5 places\n",
		"pmtrace: hook c:libfoo.so:g in process 7\n",
		"pmtrace: hook py:m:served in process ",
		"pmtrace: hook py:m:f: called 30000 times a second\n",
		"pmtrace: not available: hooks: hook py:m:g: m has no g",
	} {
		qt.Check(t, qt.StringContains(b.err.String(), line))
	}
}

// What cannot be meant ends the command before it begins: one line, code 2.
func TestBadHookFlags(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		qt.Assert(t, qt.IsNil(os.WriteFile(path, []byte(text), 0o600)))
		return path
	}
	for name, test := range map[string]struct {
		flags []string
		want  string
	}{
		"spec":      {[]string{"--hook", "frob"}, "pmtrace: --hook: frob: no hook; write py:module:Class.method.*"},
		"budget":    {[]string{"--hook", "py:m:f"}, "pmtrace: hook py:m:f: its thread has 4 hardware breakpoints, and none is free .*; --force-hooks gives update_entry up, .*; --no-profilers kv_cache gives free_blocks up"},
		"forced":    {[]string{"--force-hooks", "--hook", "py:m:a", "--hook", "py:m:b", "--hook", "py:m:c", "--hook", "py:m:d"}, "pmtrace: hook py:m:d: .*; name fewer hooks, .*"},
		"twice":     {[]string{"--force-hooks", "--hook", "py:m:f", "--hook", "py:m:f"}, "pmtrace: --hook: two hooks are named f; .*"},
		"no file":   {[]string{"--hooks", filepath.Join(dir, "none")}, "pmtrace: --hooks .*none: no such file or directory"},
		"no list":   {[]string{"--hooks", file("a", "")}, "pmtrace: --hooks .*: it has no list `hooks`, or an empty one"},
		"no YAML":   {[]string{"--hooks", file("b", "hooks: [")}, "pmtrace: --hooks .*/b: line 1: .*"},
		"too large": {[]string{"--hooks", file("c", strings.Repeat("#", maxHookFile+1))}, "pmtrace: --hooks .*: it is larger than any list of hooks"},
		"folder":    {[]string{"--hooks", dir}, "pmtrace: --hooks .*: is a directory"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, command := range [][]string{{"attach"}, {"record"}} {
				b := newBench(t)
				args := append(command, test.flags...)
				if command[0] == "record" {
					args = append(args, "--", "true")
				}
				qt.Check(t, qt.Equals(b.run(t.Context(), args), exitUsage))
				qt.Check(t, qt.Matches(strings.TrimSpace(b.err.String()), test.want))
			}
		})
	}
}

// The privileged half of record is told the same.
func TestHookArguments(t *testing.T) {
	o := hookOptions{texts: []string{"py:m:f(a, b)", "c:libfoo.so:g"}, file: "hooks.yaml", force: true}
	dir, err := os.Getwd()
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.DeepEquals(o.arguments(), []string{"--hook=py:m:f(a, b)", "--hook=c:libfoo.so:g", "--hooks=" + dir + "/hooks.yaml", "--force-hooks"}))
}

// A file that the calling user may not read is not read, though pmtrace itself could.
func TestOthersHookFile(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to be somebody else")
	}
	file := filepath.Join(t.TempDir(), "hooks.yaml")
	qt.Assert(t, qt.IsNil(os.WriteFile(file, []byte("hooks: [{py: 'm:f'}]"), 0o600)))
	_, err := readHooks(file)
	qt.Assert(t, qt.IsNil(err))
	// As a binary with file capabilities: a real user id without rights. Of this thread
	// alone.
	runtime.LockOSThread()
	const nobody = 65534
	if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, nobody, 0, 0); errno != 0 {
		t.Fatal(errno)
	}
	_, err = readHooks(file)
	_, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, 0, 0, 0)
	qt.Assert(t, qt.Equals(errno, 0))
	runtime.UnlockOSThread()
	qt.Check(t, qt.ErrorIs(err, syscall.EACCES))
}
