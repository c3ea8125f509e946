//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
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
)

// attach traces the program; the session is in its own directory.
func (s *shapeProgram) attach(t *testing.T, flags ...string) *tracer {
	t.Helper()
	tr := s.bench.run(t, append([]string{"attach", "--pid", strconv.Itoa(s.pid), "--output-dir", s.place()}, flags...)...)
	tr.says(t, "tracing engine")
	return tr
}

func (s *shapeProgram) place() string { return filepath.Join(s.out, "sessions") }

func (s *shapeProgram) signal(t *testing.T, sig syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(s.pid, sig); err != nil {
		t.Fatal(err)
	}
}

// finish ends the program's run by a signal; it has written its truth then.
func (s *shapeProgram) finish(t *testing.T) *shapeSteps {
	t.Helper()
	s.signal(t, syscall.SIGTERM)
	if line := s.line(t); line != "done" {
		t.Fatalf("the program says %q", line)
	}
	return s.shapeSteps(t)
}

// again starts the same command once more, as a supervisor does.
func (s *shapeProgram) again(t *testing.T) *shapeProgram {
	t.Helper()
	c := *s
	c.cmd = &exec.Cmd{Path: s.cmd.Path, Args: s.cmd.Args, Env: s.cmd.Env, Dir: s.cmd.Dir, Stderr: s.cmd.Stderr}
	t.Cleanup(func() { _ = c.cmd.Wait() })
	c.start(t)
	return &c
}

// begin has it begin and does not wait for its end.
func (s *shapeProgram) begin(t *testing.T) {
	t.Helper()
	if _, err := fmt.Fprintln(s.in, "go"); err != nil {
		t.Fatal(err)
	}
}

// makes waits until the program has made so many more steps.
func (s *shapeProgram) makes(t *testing.T, n int) {
	t.Helper()
	for before, began := s.made(t), time.Now(); s.made(t) < before+n; time.Sleep(5 * time.Millisecond) {
		if time.Since(began) > 60*time.Second {
			t.Fatalf("the program made %d steps in a minute, want %d", s.made(t)-before, n)
		}
	}
}

// counted starts the program with a counter of its steps.
func (b *bench) counted(t *testing.T, version string, arguments ...string) *shapeProgram {
	t.Helper()
	counter := filepath.Join(b.out, strings.ReplaceAll(t.Name(), "/", "_")+".counter")
	return b.engine(t, version, "server", append([]string{"--counter", counter}, arguments...)...)
}

// whole fails unless a session has all of the program's steps.
func (all *shapeSteps) whole(t *testing.T, path string, engine int32) {
	t.Helper()
	got := all.containsOf(t, path, engine)
	if len(all.names) == 0 || got.first != 0 || got.count != len(all.names) {
		t.Errorf("%s: steps %d to %d, the program made %d", path, got.first, got.end(), len(all.names))
	}
	t.Logf("%d steps, all in %s, each as the program says", got.count, filepath.Base(path))
}

// The server is killed in the middle of a step: pmtrace ends in order, and what the server
// did until then is there.
func TestServerKilled(t *testing.T) {
	b := shapeBench(t)
	for _, version := range []string{"3.11", "3.14"} {
		t.Run(version, func(t *testing.T) {
			s := b.counted(t, version, "--rate", "0", "--concurrency", "64", "--blocks", "2000")
			tr := s.attach(t)
			s.begin(t)
			s.makes(t, 500)
			s.signal(t, syscall.SIGKILL)
			tr.ends(t, 0, "server_exited")
			made, got := int64(s.made(t)), stepsIn(t, tr.session(t))
			if got < made-1 || got > made+1 { // the counter is written before a step
				t.Errorf("the program was at step %d, the session has %d", made, got)
			}
			t.Logf("killed at step %d; %d are there", made, got)
			tr.decodesTheSame(t)
		})
	}
}

// attach --follow: the server ends, is killed, and comes back each time; a session each, and
// nothing of another server.
func TestFollow(t *testing.T) {
	b := shapeBench(t)
	s := b.counted(t, "3.12", "--rate", "300", "--steps", "400")
	tr := s.attach(t, "--follow")
	var truths []*shapeSteps
	for round := 1; ; round++ {
		s.run(t)
		truths = append(truths, s.shapeSteps(t))
		if round == 3 {
			break
		}
		s.exit(t)
		tr.saysTimes(t, "waiting for the server to come back", round)
		other := b.engine(t, "3.13", "other", "--steps", "10") // not its command
		s = s.again(t)
		tr.saysTimes(t, "tracing engine", round+1)
		other.run(t)
	}
	s.signal(t, syscall.SIGKILL)
	tr.saysTimes(t, "waiting for the server to come back", 3)
	tr.stop(t, 0)
	sessions, err := filepath.Glob(filepath.Join(s.place(), "session_*"))
	if err != nil || len(sessions) != len(truths) {
		t.Fatalf("%d sessions, want %d: %v\n%s", len(sessions), len(truths), err, tr.stderr.String())
	}
	slices.SortFunc(sessions, func(a, b string) int { return int(startOf(t, a) - startOf(t, b)) })
	for i, truth := range truths {
		truth.whole(t, sessions[i], 0)
	}
}

// record of a supervisor that starts its engine again: the session goes on with the next one.
func TestRecordRestarts(t *testing.T) {
	b := shapeBench(t)
	out := filepath.Join(b.out, t.Name())
	fresh(t, out)
	home := filepath.Dir(cpython(t, "3.12"))
	loop := fmt.Sprintf(`for i in 0 1 2; do (exec -a VLLM::EngineCore %s -B e2e/shape/shape.py --truth %s/truth$i.jsonl --rate 300 --steps 300 --requests 100000); done`,
		filepath.Join(home, "bin", "python3.12"), out)
	tr := &tracer{bench: b, cmd: exec.Command(b.pmtrace, "record", "--output-dir", out, "--cupti", "off", "--", "bash", "-c", loop), done: make(chan struct{})}
	tr.cmd.Dir, tr.cmd.Stderr = b.repo, &tr.stderr
	tr.cmd.Env = append(os.Environ(), "PYTHONHOME="+home, "LD_LIBRARY_PATH="+home+":"+filepath.Join(home, "lib"))
	s := &shapeProgram{bench: b, cmd: tr.cmd, out: out}
	s.start(t) // the first one's number
	for i := range 3 {
		if i > 0 {
			s.line(t)
		}
		tr.saysTimes(t, "tracing engine", i+1)
		s.run(t)
		fmt.Fprintln(s.in, "end")
	}
	go func() { _ = tr.cmd.Wait(); close(tr.done) }()
	tr.ends(t, 0, "server_exited")
	for i := range 3 {
		s.file = filepath.Join(out, fmt.Sprintf("truth%d.jsonl", i))
		s.shapeSteps(t).whole(t, tr.session(t), int32(i))
	}
	tr.decodesTheSame(t)
}

// The session's directory is removed while it is written: pmtrace says so at once and ends,
// instead of writing to files that nobody can open.
func TestDirectoryRemoved(t *testing.T) {
	b := shapeBench(t)
	for what, remove := range map[string]func(tr *tracer) string{
		"session": func(tr *tracer) string { return tr.session(t) },
		"journal": func(tr *tracer) string { return filepath.Join(tr.session(t), "journal") },
	} {
		t.Run(what, func(t *testing.T) {
			s := b.counted(t, "3.13")
			tr := s.attach(t)
			s.begin(t)
			s.makes(t, 100)
			removed := remove(tr)
			if err := os.RemoveAll(removed); err != nil {
				t.Fatal(err)
			}
			if !tr.await(10 * time.Second) {
				t.Fatal("pmtrace goes on without its directory")
			}
			s.failedLike(t, tr.cmd.ProcessState.ExitCode(), 1, tr.stderr.String(), `^pmtrace: tracing ended early, what was traced is lost: .*`+removed+`\S* was removed; `)
			s.unharmed(t)
			again := s.attach(t) // the next one is whole
			s.makes(t, 50)
			again.stop(t, 0)
			truth := s.finish(t)
			if got := truth.contains(t, again.session(t)); got.count < 50 {
				t.Errorf("%d steps", got.count)
			}
		})
	}
}

// The disk fills up: one line, the server goes on, and what fitted is there.
func TestDiskFull(t *testing.T) {
	b := shapeBench(t)
	s := b.counted(t, "3.12", "--rate", "400", "--concurrency", "64", "--blocks", "3000")
	small := filepath.Join(s.out, "small")
	if err := os.Mkdir(small, 0o700); err != nil {
		t.Fatal(err)
	}
	mount(t, "tmpfs", small, "size=192k")
	tr := b.run(t, "attach", "--pid", strconv.Itoa(s.pid), "--output-dir", small)
	tr.says(t, "tracing engine")
	s.begin(t)
	if !tr.await(60 * time.Second) {
		t.Fatalf("pmtrace goes on without a disk: %s", tr.stderr.String())
	}
	s.failedLike(t, tr.cmd.ProcessState.ExitCode(), 1, tr.stderr.String(), `^pmtrace: .*no space left on device; .*pmtrace decode`)
	s.unharmed(t)
	hog(t, s.pid, 4)()
	elsewhere := filepath.Join(s.out, "elsewhere")
	if err := os.CopyFS(filepath.Join(elsewhere, "journal"), os.DirFS(filepath.Join(tr.session(t), "journal"))); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(b.pmtrace, "decode", elsewhere).CombinedOutput(); err != nil {
		t.Fatalf("pmtrace decode: %v\n%s", err, out)
	}
	got := s.finish(t).contains(t, elsewhere)
	if got.first != 0 || got.count < 100 {
		t.Errorf("steps %d to %d", got.first, got.end())
	}
	t.Logf("%d steps fitted", got.count)
}

// watches are those that a session had on its engine.
func (tr *tracer) watches(t *testing.T) []string {
	t.Helper()
	var m struct{ Engines []record.Engine }
	data, err := os.ReadFile(filepath.Join(tr.session(t), "metadata.json"))
	if err == nil {
		err = json.Unmarshal(data, &m)
	}
	if err != nil {
		t.Fatal(err)
	}
	return m.Engines[0].Watches
}

// A debugger wants the breakpoints that a trace holds: it gets none, and the trace stays
// exact. What was taken before and is given back, the next session has.
func TestBreakpointsWanted(t *testing.T) {
	b := shapeBench(t)
	s := b.counted(t, "3.12")
	release := hog(t, s.pid, 2)
	tr := s.attach(t)
	s.begin(t)
	s.makes(t, 50)
	if !strings.Contains(tr.stderr.String(), "breakpoint") {
		t.Errorf("it does not say that breakpoints are taken: %s", tr.stderr.String())
	}
	release() // in the middle of the trace
	s.makes(t, 50)
	tr.stop(t, 0)
	if w := tr.watches(t); len(w) != 2 {
		t.Errorf("watches: %v", w)
	}
	after := s.attach(t)
	// gdb watches an address with the registers that the trace holds. It stops the program
	// for as long as it looks, so this is the test's doing and not pmtrace's.
	out, _ := exec.Command("timeout", "-k", "1", "20", "gdb", "-nx", "-batch", "-p", strconv.Itoa(s.pid), "-ex", "set can-use-hw-watchpoints 1",
		"-ex", fmt.Sprintf("watch *(long *)0x%x", s.heap(t)), "-ex", "continue", "-ex", "detach").CombinedOutput()
	if !bytes.Contains(out, []byte("Couldn't write debug register")) && !bytes.Contains(out, []byte("Could not insert hardware")) {
		t.Errorf("gdb does not say that there are none: %s", out)
	}
	s.unharmed(t)
	s.makes(t, 50)
	after.stop(t, 0)
	if w := after.watches(t); len(w) != 4 {
		t.Errorf("watches: %v", w)
	}
	truth := s.finish(t)
	for _, tr := range []*tracer{tr, after} {
		got := truth.contains(t, tr.session(t))
		t.Logf("%v: %d steps", tr.watches(t), got.count)
		if got.count < 50 {
			t.Errorf("%d steps", got.count)
		}
	}
}

// heap is an address that is the program's.
func (s *shapeProgram) heap(t *testing.T) (address uint64) {
	t.Helper()
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", s.pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(maps)) {
		if strings.Contains(line, "[heap]") {
			if _, err := fmt.Sscanf(line, "%x-", &address); err == nil {
				return address + 0x100
			}
		}
	}
	t.Fatalf("no heap: %s", maps)
	return 0
}

// Two tracers want the same server: the second says why not, the first one's trace is exact.
// When the first is killed, its place is free.
func TestAttachTwice(t *testing.T) {
	b := shapeBench(t)
	s := b.counted(t, "3.14")
	first := s.attach(t)
	s.begin(t)
	s.makes(t, 50)
	b.pmtraceFails(t, 3, `^pmtrace: cannot trace .*breakpoint.* taken; `, "attach", "--pid", strconv.Itoa(s.pid), "--output-dir", s.place())
	s.makes(t, 50)
	first.kill(t)
	third := s.attach(t)
	s.makes(t, 50)
	third.stop(t, 0)
	first.decode(t)
	truth := s.finish(t)
	for _, tr := range []*tracer{first, third} {
		if got := truth.contains(t, tr.session(t)); got.count < 50 {
			t.Errorf("%d steps", got.count)
		}
	}
	if sessions, _ := filepath.Glob(filepath.Join(s.place(), "session_*")); len(sessions) != 2 {
		t.Errorf("%d sessions, want 2: the refused one leaves none", len(sessions))
	}
}

// The server is suspended for seconds, also as pmtrace comes and goes.
func TestServerSuspended(t *testing.T) {
	b := shapeBench(t)
	s := b.counted(t, "3.13")
	first := s.attach(t)
	s.begin(t)
	s.makes(t, 100)
	s.signal(t, syscall.SIGSTOP)
	time.Sleep(3 * time.Second)
	s.signal(t, syscall.SIGCONT)
	s.makes(t, 100)
	s.signal(t, syscall.SIGSTOP)
	time.Sleep(time.Second)
	first.stop(t, 0)
	second := s.attach(t) // to a server that stands still
	time.Sleep(time.Second)
	s.signal(t, syscall.SIGCONT)
	s.makes(t, 100)
	truth := s.finish(t)
	second.stop(t, 0)
	got, rest := truth.contains(t, first.session(t)), truth.contains(t, second.session(t))
	if got.first != 0 || rest.end() != len(truth.names) || got.end() < rest.first-1 || got.end() > rest.first {
		t.Errorf("sessions have steps %d to %d and %d to %d of %d", got.first, got.end(), rest.first, rest.end(), len(truth.names))
	}
	t.Logf("steps 0 to %d and %d to %d of %d", got.end(), rest.first, rest.end(), len(truth.names))
}

// Two thousand requests in each step.
func TestManyRequests(t *testing.T) {
	b := shapeBench(t)
	s := b.counted(t, "3.12", "--rate", "20", "--concurrency", "2000", "--batch", "300000", "--blocks", "60000", "--steps", "60")
	tr := s.attach(t)
	s.run(t)
	tr.stop(t, 0)
	most := int32(0)
	collect(t, openSession(t, tr.session(t)), func(r *record.StepRow) { most = max(most, r.Requests) })
	if most < 2000 {
		t.Errorf("at most %d requests in a step", most)
	}
	s.shapeSteps(t).whole(t, tr.session(t), 0)
	tr.lostNothing(t)
}

// lostNothing: no event was lost, as the session itself says.
func (tr *tracer) lostNothing(t *testing.T) {
	t.Helper()
	collect(t, openSession(t, tr.session(t)), func(r *record.LossRow) { t.Errorf("lost: %+v", *r) })
}
