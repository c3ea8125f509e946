package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/go-quicktest/qt"
)

func TestParseTests(t *testing.T) {
	got := parseTests(`=== RUN   TestA
    a_test.go:1: --- FAIL is said here as well
--- FAIL: TestA (0.10s)
    --- PASS: TestA/one/two (0.05s)
    --- FAIL: TestA/three (0.05s)
--- PASS: TestB (0.00s)
    --- SKIP: TestB/x (0.00s)
--- SKIP: TestC (0.00s)
`)
	qt.Assert(t, qt.DeepEquals(got, map[string]string{
		"TestA/one/two": passed, "TestA/three": failed, "TestB/x": skipped, "TestC": skipped,
	}))
}

func TestOrder(t *testing.T) {
	kernels := []*Kernel{{Release: "6.12.117+deb13-amd64"}, {Release: "7.3.4"}, {Release: "5.10.0-32"}, {Release: "6.8.0-151-generic"}}
	slices.SortFunc(kernels, compareReleases)
	var got []string
	for _, k := range kernels {
		got = append(got, major(k.Release))
	}
	qt.Assert(t, qt.DeepEquals(got, []string{"5.10", "6.8", "6.12", "7.3"}))
}

// One kernel refuses, on one all works but a test.
func TestRun(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	write := func(name, text string) {
		path := filepath.Join(from, name)
		qt.Assert(t, qt.IsNil(os.MkdirAll(filepath.Dir(path), 0o755)))
		qt.Assert(t, qt.IsNil(os.WriteFile(path, []byte(text), 0o644)))
	}
	for name, text := range map[string]string{
		"key": "x", "release": "5.10.0-32-amd64\n", "origin": "5.10.0-32-amd64 debian/bullseye\n", "date": "2026-11-27\n",
		"check.txt":  `[{"id": "bpf_cookie", "name": "bpf_get_attach_cookie", "status": "fail", "found": "not in Linux 5.10"}]`,
		"record.err": "pmtrace: cannot trace here\n", "bpf.rc": "0\n", "bpf.txt": "--- SKIP: TestLoad (0.1s)\n",
	} {
		write("5.10/"+name, text)
	}
	for name, text := range map[string]string{
		"key": "x", "release": "6.1.0-50-amd64\n", "origin": "6.1.0-50-amd64 debian/bookworm\n", "date": "2026-11-27\n",
		"check.txt": `[{"id": "bpf_loop", "status": "ok", "found": "works"}]`,
		"bpf.rc":    "0\n", "bpf.txt": "--- PASS: TestLoad/bpf_loop (0.1s)\n",
		"probes.rc": "1\n", "probes.txt": "--- FAIL: TestHookCalls/3.12 (0.1s)\n--- PASS: TestHookLibrary/plain (1s)\n",
		"verifier/TestLoad/bpf_loop/schedule_return": "stack depth 88\nprocessed 62113 insns (limit 1000000) max_states_per_insn 1 total_states 9 peak_states 8 mark_read 0\n",
	} {
		write("6.1/"+name, text)
	}
	write("6.8/release", "6.8\n") // not ended

	bad, err := run(from, to)
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.DeepEquals(bad, []string{"6.1: probes ended with 1", "6.1: probes: TestHookCalls/3.12"}))
	b, err := os.ReadFile(filepath.Join(to, "RESULTS.md"))
	qt.Assert(t, qt.IsNil(err))
	for _, line := range []string{
		"|  | 5.10 | 6.1 |", "| `pmtrace check` | **refused** | works |", "| programs load | – | 1 |",
		"| `--hook` | – | **1 of 2 fail** |", "| `schedule_return` | – | 62113 |", "pmtrace: cannot trace here",
	} {
		qt.Check(t, qt.IsTrue(strings.Contains(string(b), line)), qt.Commentf("%s", line))
	}
	b, err = os.ReadFile(filepath.Join(to, "verifier-oldest.txt"))
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.StringContains(string(b), "The verifier of Linux 6.1.0-50-amd64 (debian/bookworm)"))
}
