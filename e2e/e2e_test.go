//go:build e2e

// Package e2e runs pmtrace against real vLLM servers and compares each session
// with the server's own word (e2e/truth). Needs root, and what `make setup` has
// set up.
//
//	PMTRACE_E2E=quick        one server, about three minutes (default)
//	PMTRACE_E2E=full         everything but the modes
//	PMTRACE_E2E=modes        the ways to run a server (TestModes); e2e/matrix runs them
//	PMTRACE_E2E_VLLM=0.32.0  the version of vLLM, or one with a CPython: 0.32.0-py3.12
//	PMTRACE_E2E_SUMMARY=FILE add a line of JSON for each comparison
package e2e

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// pressure makes requests wait for KV blocks, so that some are preempted and
// blocks are handed out again.
func pressure() []string { return []string{"--num-gpu-blocks-override", "300", "--max-num-seqs", "64"} }

// prefixes is a load of which half begins with one of four shared prefixes.
func prefixes() []string { return []string{"--prefix-fraction", "0.5", "--prefix-tokens", "128"} }

func args(lists ...[]string) []string {
	var all []string
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}

// TestServer has one server do all that one server can do: it takes a minute to
// start.
func TestServer(t *testing.T) {
	b := newBench(t)
	s := b.serve(t, "server", pressure()...)

	// First, because only here no block was ever handed out before.
	t.Run("attach before load", func(t *testing.T) {
		s := s.in(t)
		before := s.scrape(t, "before")
		store := filepath.Join(s.out, "fleet")
		tr := s.attach(t, "--rotate", "3s", "--ship-to", store)
		one := s.load(t, "c1", "-c", "1", "-n", "6", "--seed", "1")
		eight := s.load(t, "c8", args(prefixes(), []string{"-c", "8", "-n", "60", "--seed", "2", "--eos-fraction", "0.2"})...)
		many := s.load(t, "c64", args(prefixes(), []string{"-c", "64", "-n", "250", "--seed", "3", "--eos-fraction", "0.1"})...)
		s.settle()
		after := s.scrape(t, "after")
		tr.stop(t, 0)
		s.truth(t, tr, "--load", one, "--load", eight, "--load", many, "--before", before, "--after", after, "--fresh")
		tr.decodesTheSame(t)
		tr.finds(t, "kv_cache_too_small")
		if steps, complete := shippedSteps(t, store, filepath.Base(tr.session(t))); steps != stepsIn(t, tr.session(t)) || !complete {
			t.Errorf("%d steps are in the store (complete: %v), %d in the session", steps, complete, stepsIn(t, tr.session(t)))
		}
	})

	t.Run("clients hang up", func(t *testing.T) {
		s := s.in(t)
		before := s.scrape(t, "before")
		tr := s.attach(t)
		load := s.load(t, "aborts", args(prefixes(), []string{"-c", "24", "-n", "120", "--seed", "4", "--eos-fraction", "0.2", "--abort-fraction", "0.25"})...)
		s.settle()
		after := s.scrape(t, "after")
		tr.stop(t, 0)
		s.truth(t, tr, "--load", load, "--before", before, "--after", after)
	})

	t.Run("attach in the middle of a load", func(t *testing.T) {
		s := s.in(t)
		load := s.begin(t, "mid", args(prefixes(), []string{"-c", "64", "-n", "4000", "--seed", "5", "--eos-fraction", "0.1", "-o", "32:192"})...)
		time.Sleep(2 * time.Second)
		tr := s.attach(t)
		time.Sleep(4 * time.Second)
		load.enough(t)
		path := load.wait(t)
		s.settle()
		tr.stop(t, 0)
		s.truth(t, tr, "--load", path, "--midload")
		tr.decodesTheSame(t)
	})

	t.Run("attach again and again", func(t *testing.T) {
		full(t)
		s := s.in(t)
		load := s.begin(t, "again", args(prefixes(), []string{
			"-c", "64", "-n", "4000", "--seconds", "36", "--seed", "15", "--eos-fraction", "0.1", "--abort-fraction", "0.05", "-o", "32:192"})...)
		var windows []*tracer
		for began := time.Now(); time.Since(began) < 28*time.Second; {
			time.Sleep(time.Second)
			tr := s.attach(t)
			time.Sleep(1200 * time.Millisecond)
			tr.stop(t, 0)
			windows = append(windows, tr)
		}
		path := load.wait(t)
		s.settle()
		for _, tr := range windows {
			s.truth(t, tr, "--load", path, "--midload", "--cut")
		}
	})

	t.Run("pmtrace is killed", func(t *testing.T) {
		s := s.in(t)
		tr := s.attach(t)
		load := s.begin(t, "killed", "-c", "16", "-n", "2000", "--seconds", "7", "--seed", "6")
		time.Sleep(5 * time.Second)
		at := monotonic()
		tr.kill(t)
		path := load.wait(t) // fails if the server was harmed
		tr.decode(t)
		tr.reachesTo(t, at-2*time.Second) // a second, and the delay of a machine whose cores are all busy
		s.truth(t, tr, "--load", path, "--cut")
	})

	t.Run("watched while it runs", func(t *testing.T) { watchedLive(t, s) })

	t.Run("no prompt is read", func(t *testing.T) { secrets(t, s) })

	t.Run("bad cases", func(t *testing.T) { badCases(t, s) })

	t.Run("hooks", func(t *testing.T) { hooks(t, s.in(t)) })
	t.Run("bad hooks", func(t *testing.T) { badHooks(t, s.in(t)) })

	t.Run("events are lost", func(t *testing.T) {
		full(t)
		s := s.in(t)
		tr := s.attach(t, "--ring-size", "8KiB")
		load := s.load(t, "lossy", args(prefixes(), []string{"-c", "64", "-n", "200", "--seed", "14", "--eos-fraction", "0.1"})...)
		s.settle()
		tr.stop(t, 0)
		s.truth(t, tr, "--load", load, "--lossy")
		tr.decodesTheSame(t)
	})

	t.Run("the server ends", func(t *testing.T) {
		s := s.in(t)
		tr := s.attach(t)
		path := s.load(t, "last", "-c", "8", "-n", "16", "--seed", "7")
		s.settle()
		s.signal(t, syscall.SIGTERM)
		tr.ends(t, 0, "server_exited")
		s.truth(t, tr, "--load", path)
	})
}

// TestRecord records a server from its start, under load, to its end by a
// signal to pmtrace.
func TestRecord(t *testing.T) {
	full(t)
	b := newBench(t)
	s := b.record(t, "record", pressure()...)
	before := s.scrape(t, "before")
	load := s.load(t, "load", args(prefixes(), []string{"-c", "64", "-n", "240", "--seed", "8", "-o", "32:192", "--eos-fraction", "0.1"})...)
	s.settle()
	after := s.scrape(t, "after")
	s.tracer.signal(t, syscall.SIGINT)
	s.tracer.ends(t, anyCode, "server_exited")
	s.truth(t, s.tracer, "--load", load, "--before", before, "--after", after, "--fresh")
	s.tracer.decodesTheSame(t)
}

// TestServerIsKilled kills a recorded server, all of it, under load.
func TestServerIsKilled(t *testing.T) {
	full(t)
	b := newBench(t)
	s := b.serve(t, "killed-server")
	tr := s.attach(t)
	load := s.begin(t, "load", "-c", "8", "-n", "2000", "--seconds", "20", "--seed", "9")
	time.Sleep(4 * time.Second)
	s.signalAll(t, syscall.SIGKILL)
	tr.ends(t, 0, "server_exited")
	load.fails(t)
	s.truth(t, tr, "--killed", "--load", load.path)
}

// TestInProcess traces an engine that lives in its program's own process.
func TestInProcess(t *testing.T) {
	full(t)
	b := newBench(t)
	s := b.inProcess(t, "in-process")
	tr := s.attach(t)
	s.generate(t)
	tr.stop(t, 0)
	s.truth(t, tr, "--load", filepath.Join(s.out, "load.jsonl"), "--fresh")
	tr.decodesTheSame(t)
}

// TestNamespace traces a server in another PID and mount namespace.
func TestNamespace(t *testing.T) {
	full(t)
	b := newBench(t)
	t.Setenv("PMTRACE_SERVE_WRAP", "unshare --pid --mount --fork --mount-proc --kill-child")
	s := b.serve(t, "namespace", pressure()...)
	before := s.scrape(t, "before")
	tr := s.attach(t)
	load := s.load(t, "load", args(prefixes(), []string{"-c", "64", "-n", "160", "--seed", "10", "-o", "32:192"})...)
	s.settle()
	after := s.scrape(t, "after")
	tr.stop(t, 0)
	s.truth(t, tr, "--load", load, "--before", before, "--after", after, "--fresh")
}

// TestAsynchronous traces a scheduler that schedules the next step before it
// knows the output of the last, as it does on GPUs (e2e/async makes it do so).
func TestAsynchronous(t *testing.T) {
	full(t)
	b := newBench(t)
	t.Setenv("PYTHONPATH", filepath.Join(b.repo, "e2e", "async"))
	s := b.serve(t, "async", pressure()...)

	t.Run("attach before load", func(t *testing.T) {
		s := s.in(t)
		before := s.scrape(t, "before")
		tr := s.attach(t)
		eight := s.load(t, "c8", args(prefixes(), []string{"-c", "8", "-n", "60", "--seed", "11", "--eos-fraction", "0.3"})...)
		many := s.load(t, "c64", args(prefixes(), []string{"-c", "64", "-n", "250", "--seed", "12", "--eos-fraction", "0.3"})...)
		s.settle()
		after := s.scrape(t, "after")
		tr.stop(t, 0)
		s.truth(t, tr, "--load", eight, "--load", many, "--before", before, "--after", after, "--fresh", "--async")
		tr.decodesTheSame(t)
	})

	t.Run("clients hang up, attach in the middle", func(t *testing.T) {
		s := s.in(t)
		load := s.begin(t, "mid", args(prefixes(), []string{"-c", "48", "-n", "4000", "--seed", "13", "--eos-fraction", "0.2", "--abort-fraction", "0.2"})...)
		time.Sleep(2 * time.Second)
		tr := s.attach(t)
		time.Sleep(4 * time.Second)
		load.enough(t)
		path := load.wait(t)
		s.settle()
		tr.stop(t, 0)
		s.truth(t, tr, "--load", path, "--midload", "--async")
		tr.decodesTheSame(t)
	})
}

// modes skips what only the matrix runs.
func modes(t *testing.T) {
	t.Helper()
	if os.Getenv("PMTRACE_E2E") != "modes" {
		t.Skip("not in this selection: PMTRACE_E2E=modes")
	}
}

// full skips what is not part of the quick selection.
func full(t *testing.T) {
	t.Helper()
	if chosen := os.Getenv("PMTRACE_E2E"); chosen != "full" && chosen != "modes" {
		t.Skip("not in the quick selection: PMTRACE_E2E=full")
	}
}
