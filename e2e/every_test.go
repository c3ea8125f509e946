//go:build e2e

package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/fleet"
	"github.com/pmtrace/pmtrace/output/session"
)

// engine starts the program as vLLM names its engines, so that it is found by itself.
func (b *bench) engine(t *testing.T, version, name string, arguments ...string) *shapeProgram {
	t.Helper()
	s := &shapeProgram{bench: b, version: version, out: filepath.Join(b.out, t.Name(), name)}
	fresh(t, s.out)
	s.file = filepath.Join(s.out, "truth.jsonl")
	home := filepath.Dir(cpython(t, version))
	s.cmd = exec.Command(filepath.Join(home, "bin", "python"+version), append([]string{"-B", "e2e/shape/shape.py", "--truth", s.file, "--rate", "200", "--requests", "1000000"}, arguments...)...)
	s.cmd.Args[0] = "VLLM::EngineCore"
	s.cmd.Env = append(os.Environ(), "PYTHONHOME="+home, "LD_LIBRARY_PATH="+home+":"+filepath.Join(home, "lib"))
	s.cmd.Dir, s.cmd.Stderr = b.repo, os.Stderr
	t.Cleanup(func() { _ = s.cmd.Wait() })
	s.start(t)
	return s
}

// exit has the program end.
func (s *shapeProgram) exit(t *testing.T) {
	t.Helper()
	fmt.Fprintln(s.in)
	_ = s.in.Close()
	if err := s.cmd.Wait(); err != nil {
		t.Fatal(err)
	}
}

// steps counts those that the program says it made.
func (s *shapeProgram) steps(t *testing.T) (n int64) {
	t.Helper()
	f, err := os.Open(s.file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		if strings.Contains(lines.Text()[:min(40, len(lines.Text()))], `"step"`) {
			n++
		}
	}
	return n
}

// sessionOf finds the session of a process, among the daemon's.
func sessionsOf(t *testing.T, place string, pid int) []string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(place, "session_*"))
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(all, func(path string) bool {
		dir, err := session.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer dir.Close()
		for row, err := range session.Rows[record.ProcessRow](dir) {
			if err == nil && int(row.PID) == pid {
				return false
			}
		}
		return true
	})
}

func stepsIn(t *testing.T, path string) (n int64) {
	t.Helper()
	dir, err := session.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	for _, err := range session.Rows[record.StepRow](dir) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	return n
}

// shippedSteps are those of a session in the store.
func shippedSteps(t *testing.T, store, name string) (steps int64, complete bool) {
	t.Helper()
	manifests, err := filepath.Glob(filepath.Join(store, "_manifests", "*", "*", "session="+name+".json"))
	if err != nil || len(manifests) != 1 {
		t.Fatalf("%d manifests of %s", len(manifests), name)
	}
	b, err := os.ReadFile(manifests[0])
	if err != nil {
		t.Fatal(err)
	}
	var m fleet.Manifest
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	return m.Rows()["steps"], m.Complete
}

func (tr *tracer) count(what string) int { return strings.Count(tr.stderr.String(), what) }

func (tr *tracer) saysTimes(t *testing.T, what string, n int) {
	t.Helper()
	for until := time.Now().Add(60 * time.Second); tr.count(what) < n; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("pmtrace says %q %d times, want %d: %s", what, tr.count(what), n, tr.stderr.String())
		}
	}
}

// pmtrace attach --all: servers come, go, die and come again, each with a session of its
// own; what the store has of each is what the program says it did.
func TestEveryServer(t *testing.T) {
	b := shapeBench(t)
	out := filepath.Join(b.out, t.Name())
	fresh(t, out)
	place, store := filepath.Join(out, "sessions"), filepath.Join(out, "fleet")
	daemon := func() *tracer {
		tr := b.run(t, "attach", "--all", "--output-dir", place, "--ship-to", store, "--rotate", "1s", "--no-csv")
		tr.says(t, "waiting for vLLM servers")
		return tr
	}
	whole := func(s *shapeProgram) string {
		t.Helper()
		paths := sessionsOf(t, place, s.pid)
		if len(paths) != 1 {
			t.Fatalf("%d sessions of process %d", len(paths), s.pid)
		}
		want, got := s.steps(t), stepsIn(t, paths[0])
		shipped, complete := shippedSteps(t, store, filepath.Base(paths[0]))
		if want == 0 || got != want || shipped != want || !complete {
			t.Fatalf("process %d made %d steps, its session has %d, the store %d (complete: %v)", s.pid, want, got, shipped, complete)
		}
		t.Logf("CPython %s: %d steps made, in the session, and in the store", s.version, want)
		return paths[0]
	}

	first := b.engine(t, "3.12", "before", "--steps", "600")
	tr := daemon()
	tr.saysTimes(t, "tracing engine", 1)
	first.run(t)
	first.exit(t)
	tr.saysTimes(t, "shipped to", 1)
	whole(first)

	// Two at a time, one of which is killed and started again.
	second, third := b.engine(t, "3.11", "second", "--steps", "1000"), b.engine(t, "3.14", "third", "--steps", "100000")
	tr.saysTimes(t, "tracing engine", 3)
	go fmt.Fprintln(third.in, "go")
	second.run(t)
	if err := syscall.Kill(third.pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	fourth := b.engine(t, "3.14", "fourth", "--steps", "400")
	tr.saysTimes(t, "tracing engine", 4)
	fourth.run(t)
	second.exit(t)
	fourth.exit(t)
	tr.saysTimes(t, "shipped to", 4)
	whole(fourth)
	path := whole(second)
	parts, err := filepath.Glob(filepath.Join(path, "parquet", "steps", "*.parquet"))
	if err != nil || len(parts) < 3 {
		t.Fatalf("%d parts of 5 s of steps: %v", len(parts), err)
	}
	sameWhenDecoded(t, b, path)
	if n := len(sessionsOf(t, place, third.pid)); n != 1 {
		t.Fatalf("%d sessions of the killed server", n)
	}

	// pmtrace is killed: the next one ships what it left, and traces the server on.
	fifth := b.engine(t, "3.13", "fifth", "--steps", "1000000")
	tr.saysTimes(t, "tracing engine", 5)
	go fmt.Fprintln(fifth.in, "go")
	time.Sleep(3 * time.Second)
	tr.kill(t)
	sessions, err := filepath.Glob(filepath.Join(place, "session_*"))
	if err != nil || len(sessions) != 5 {
		t.Fatalf("%d sessions: %v", len(sessions), err)
	}
	left := sessions[len(sessions)-1] // named for the time
	journal, err := filepath.Glob(filepath.Join(left, "journal", "*"))
	if err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-2 * time.Minute)
	for _, f := range journal {
		if err := os.Chtimes(f, old, old); err != nil {
			t.Fatal(err)
		}
	}
	tr = daemon()
	tr.says(t, "decoding "+left+", which never ended")
	tr.says(t, "shipped "+left+" of before to "+store)
	tr.saysTimes(t, "tracing engine", 1)
	if shipped, complete := shippedSteps(t, store, filepath.Base(left)); !complete || shipped != stepsIn(t, left) || shipped < 300 {
		t.Fatalf("%d steps of %s are in the store (complete: %v), %d in the session", shipped, left, complete, stepsIn(t, left))
	}
	tr.stop(t, 0)
	if n := len(sessionsOf(t, place, fifth.pid)); n != 2 {
		t.Fatalf("%d sessions of the server that was traced twice", n)
	}
}

// A session's time ends it, and another begins at once.
func TestSessionTime(t *testing.T) {
	b := shapeBench(t)
	out := filepath.Join(b.out, t.Name())
	fresh(t, out)
	s := b.engine(t, "3.12", "server", "--steps", "2000")
	tr := b.run(t, "attach", "--all", "--output-dir", filepath.Join(out, "sessions"), "--session-time", "3s", "--ship-to", filepath.Join(out, "fleet"), "--ship-and-remove")
	tr.saysTimes(t, "tracing engine", 1)
	s.run(t)
	tr.saysTimes(t, "tracing engine", 3)
	tr.stop(t, 0)
	left, err := filepath.Glob(filepath.Join(out, "sessions", "session_*"))
	if err != nil || len(left) > 0 {
		t.Fatalf("sessions are left: %v %v", left, err)
	}
	manifests, err := filepath.Glob(filepath.Join(out, "fleet", "_manifests", "*", "*", "*.json"))
	if err != nil || len(manifests) < 3 {
		t.Fatalf("%d sessions in the store: %v", len(manifests), err)
	}
	var steps int64
	for _, m := range manifests {
		n, complete := shippedSteps(t, filepath.Join(out, "fleet"), strings.TrimSuffix(strings.TrimPrefix(filepath.Base(m), "session="), ".json"))
		if !complete {
			t.Errorf("%s is not complete", m)
		}
		steps += n
	}
	made := s.steps(t)
	t.Logf("%d of %d steps in %d sessions", steps, made, len(manifests))
	if steps > made || steps < made*85/100 { // between sessions it is not traced for a moment
		t.Errorf("%d of %d steps were traced", steps, made)
	}
	// What was removed is in the store, to the last byte of the journal: it decodes to
	// the same tables.
	raw, err := filepath.Glob(filepath.Join(out, "fleet", "_raw", "*", "*", "session=*"))
	if err != nil || len(raw) != len(manifests) {
		t.Fatalf("%d journals: %v", len(raw), err)
	}
	again := filepath.Join(out, "again")
	if err := os.CopyFS(again, os.DirFS(raw[0])); err != nil {
		t.Fatal(err)
	}
	if text, err := exec.Command(b.pmtrace, "decode", again).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	name := strings.TrimPrefix(filepath.Base(raw[0]), "session=")
	if shipped, _ := shippedSteps(t, filepath.Join(out, "fleet"), name); stepsIn(t, again) != shipped {
		t.Errorf("the journal has %d steps, the store's tables %d", stepsIn(t, again), shipped)
	}
}

// sameWhenDecoded decodes a session again and compares the tables' bytes.
func sameWhenDecoded(t *testing.T, b *bench, path string) {
	t.Helper()
	read := func() map[string]string {
		files := map[string]string{}
		err := fs.WalkDir(os.DirFS(path), "parquet", func(name string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			text, err := os.ReadFile(filepath.Join(path, name))
			files[name] = string(text)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return files
	}
	live := read()
	if text, err := exec.Command(b.pmtrace, "decode", "--no-csv", path).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	decoded := read()
	if len(live) != len(decoded) {
		t.Errorf("%d parts live, %d when decoded", len(live), len(decoded))
	}
	for name, text := range live {
		if decoded[name] != text {
			t.Errorf("%s differs when decoded, %s bytes", name, strconv.Itoa(len(text)))
		}
	}
}
