package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-quicktest/qt"

	"github.com/pmtrace/pmtrace/output/session"
)

// everyBench traces whatever runs, with a tracer for each. Of other tests' servers there
// may be some.
func everyBench(t *testing.T) *testBench {
	b := newBench(t)
	b.realSessions()
	b.world.tracer = func(tracerOptions) (tracer, error) { return &fakeTracer{}, nil }
	return b
}

// sessionsOf are the sessions of a server, by its root's PID.
func (b *testBench) sessionsOf(t *testing.T, pid int) []*session.Facts {
	var list []*session.Facts
	for _, path := range b.sessions(t) {
		dir, err := session.Open(path)
		qt.Assert(t, qt.IsNil(err))
		facts, err := session.ReadFacts(dir)
		dir.Close()
		if err != nil {
			continue
		}
		for _, p := range facts.Processes {
			if p.PID == pid {
				list = append(list, facts)
			}
		}
	}
	return list
}

// Servers that are there, come up, and go have a session each; a session's time ends it
// and the next begins.
func TestAttachAll(t *testing.T) {
	first, endFirst := startServer(t)
	b := everyBench(t)
	var second int
	var wait sync.WaitGroup
	wait.Go(func() {
		time.Sleep(1500 * time.Millisecond)
		endFirst()
		second, _ = startServer(t)
	})
	code := b.run(t.Context(), []string{"attach", "--all", "--duration", "8", "--session-time", "2500ms", "--no-csv"})
	wait.Wait()
	qt.Assert(t, qt.Equals(code, 0), qt.Commentf("%s", b.err))
	one, two := b.sessionsOf(t, first), b.sessionsOf(t, second)
	qt.Assert(t, qt.HasLen(one, 1))
	qt.Check(t, qt.Equals(one[0].End.Reason, "server_exited"))
	qt.Assert(t, qt.IsTrue(len(two) >= 2), qt.Commentf("%d sessions\n%s", len(two), b.err))
	for i, f := range two {
		qt.Check(t, qt.Equals(f.End.Reason, "duration"))
		if i > 0 { // the time between two is short
			gap := time.Duration(f.Start.MonoNS - two[i-1].End.MonoNS)
			qt.Check(t, qt.IsTrue(gap > 0 && gap < time.Second), qt.Commentf("%v", gap))
		}
	}
}

// A server that cannot be traced is tried again, ever more seldom, and keeps no other from
// being traced.
func TestAttachAllTriesAgain(t *testing.T) {
	pid, _ := startServer(t)
	b := everyBench(t)
	var mu sync.Mutex
	refused := 0
	b.world.tracer = func(tracerOptions) (tracer, error) {
		mu.Lock()
		defer mu.Unlock()
		refused++
		return &fakeTracer{refuse: fmt.Errorf("all slots are taken")}, nil
	}
	qt.Assert(t, qt.Equals(b.run(t.Context(), []string{"attach", "--all", "--duration", "5"}), 0), qt.Commentf("%s", b.err))
	said := strings.Count(b.err.String(), fmt.Sprintf("pmtrace: server %d: cannot trace process", pid))
	qt.Check(t, qt.Equals(said, 1), qt.Commentf("%s", b.err))
	qt.Check(t, qt.HasLen(b.sessions(t), 0))
}

// What an earlier run has left is shipped: a session whose store was away, and one that
// pmtrace was killed in. One that is being written is left alone.
func TestBacklog(t *testing.T) {
	b := everyBench(t)
	place := b.env.get("PMTRACE_OUTPUT_DIR")
	store := filepath.Join(t.TempDir(), "fleet")
	for name, recorded := range map[string]string{"session_ended": "h200-record", "session_killed": "h200-midload", "session_written": "h200-pressure", "other": "h200-record"} {
		path := filepath.Join(place, name)
		qt.Assert(t, qt.IsNil(os.CopyFS(path, os.DirFS(filepath.Join("testdata", "recorded", recorded)))))
		switch name {
		case "session_ended", "other":
			pmtrace(t, "decode", "--no-csv", path)
		case "session_killed":
			old := time.Now().Add(-2 * leftAlone)
			qt.Assert(t, qt.IsNil(os.Chtimes(filepath.Join(path, "journal", "00000.pmj"), old, old)))
		}
	}
	run := func() string {
		b.err.b.Reset()
		qt.Assert(t, qt.Equals(b.run(t.Context(), []string{"attach", "--all", "--duration", "4", "--ship-to", store, "--ship-host", "h"}), 0), qt.Commentf("%s", b.err))
		return b.err.String()
	}
	said := run()
	for _, name := range []string{"session_ended", "session_killed"} {
		qt.Check(t, qt.StringContains(said, "pmtrace: shipped "+filepath.Join(place, name)+" of before to "+store+": "))
		_, err := os.Stat(filepath.Join(place, name, fileShipped))
		qt.Check(t, qt.IsNil(err))
	}
	qt.Check(t, qt.StringContains(said, "pmtrace: decoding "+filepath.Join(place, "session_killed")+", which never ended\n"))
	for _, name := range []string{"session_written", "other"} {
		qt.Check(t, qt.IsFalse(strings.Contains(said, filepath.Join(place, name))), qt.Commentf("%s", said))
	}
	manifests, err := filepath.Glob(filepath.Join(store, "_manifests", "host=h", "date=2026-11-23", "*.json"))
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.HasLen(manifests, 2))

	// Once is enough; for another store it is shipped anew.
	again := run()
	store += "2"
	elsewhere := run()
	for _, name := range []string{"session_ended", "session_killed"} {
		shipped := "pmtrace: shipped " + filepath.Join(place, name) + " of before to "
		qt.Check(t, qt.IsFalse(strings.Contains(again, shipped)), qt.Commentf("%s", again))
		qt.Check(t, qt.StringContains(elsewhere, shipped+store))
	}
	dir, err := session.Open(filepath.Join(place, "session_ended"))
	qt.Assert(t, qt.IsNil(err))
	defer dir.Close()
	to := readShipped(dir).To
	qt.Check(t, qt.HasLen(to, 2))
	qt.Check(t, qt.IsTrue(slices.Contains(to, store)))
}
