//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/session"
)

// tracer is a pmtrace that runs.
type tracer struct {
	bench  *bench
	cmd    *exec.Cmd
	stderr lines
	out    lines
	done   chan struct{} // closed when it has ended
	from   int64         // size of the server's log when it began
}

// anyCode stands for whatever exit code.
const anyCode = -1

// run starts pmtrace.
func (b *bench) run(t *testing.T, arguments ...string) *tracer {
	t.Helper()
	tr := &tracer{bench: b, cmd: exec.Command(b.pmtrace, arguments...), done: make(chan struct{})}
	tr.cmd.Dir, tr.cmd.Stdout, tr.cmd.Stderr = b.repo, &tr.out, &tr.stderr
	if err := tr.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = tr.cmd.Wait(); close(tr.done) }()
	t.Cleanup(func() {
		select {
		case <-tr.done:
		default:
			_ = tr.cmd.Process.Signal(syscall.SIGTERM)
			tr.await(30 * time.Second)
		}
	})
	return tr
}

// attach traces the server, and returns when the engine is armed.
func (s *server) attach(t *testing.T, flags ...string) *tracer {
	t.Helper()
	from := s.logSize(t)
	tr := s.run(t, append([]string{"attach", "--pid", strconv.Itoa(s.pid), "--output-dir", s.out}, flags...)...)
	tr.from = from
	tr.says(t, "tracing engine")
	return tr
}

func (s *server) logSize(t *testing.T) int64 {
	t.Helper()
	info, err := os.Stat(s.log)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

func (tr *tracer) says(t *testing.T, what string) {
	t.Helper()
	until := time.Now().Add(60 * time.Second)
	for !strings.Contains(tr.stderr.String(), what) {
		select {
		case <-tr.done:
			t.Fatalf("pmtrace ended: %s", tr.stderr.String())
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(until) {
			t.Fatalf("pmtrace does not say %q: %s", what, tr.stderr.String())
		}
	}
}

func (tr *tracer) await(limit time.Duration) bool {
	select {
	case <-tr.done:
		return true
	case <-time.After(limit):
		return false
	}
}

// session is the directory that it writes to.
func (tr *tracer) session(t *testing.T) string {
	t.Helper()
	m := regexp.MustCompile(`pmtrace: writing to (\S.*)`).FindStringSubmatch(tr.stderr.String())
	if m == nil {
		t.Fatalf("pmtrace does not say where it writes to: %s", tr.stderr.String())
	}
	return m[1]
}

func (tr *tracer) signal(t *testing.T, sig syscall.Signal) {
	t.Helper()
	if err := tr.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

// stop ends it by SIGTERM and looks at the exit code.
func (tr *tracer) stop(t *testing.T, code int) {
	t.Helper()
	tr.signal(t, syscall.SIGTERM)
	tr.code(t, code)
}

func (tr *tracer) code(t *testing.T, want int) {
	t.Helper()
	if !tr.await(60 * time.Second) {
		tr.cmd.Process.Kill()
		t.Fatalf("pmtrace does not end: %s", tr.stderr.String())
	}
	if got := tr.cmd.ProcessState.ExitCode(); want != anyCode && got != want {
		t.Errorf("pmtrace: exit code %d, want %d: %s", got, want, tr.stderr.String())
	}
}

// kill ends it by SIGKILL.
func (tr *tracer) kill(t *testing.T) {
	t.Helper()
	tr.signal(t, syscall.SIGKILL)
	if !tr.await(10 * time.Second) {
		t.Fatal("pmtrace survives SIGKILL")
	}
}

// ends waits until it has ended by itself, for a reason.
func (tr *tracer) ends(t *testing.T, code int, reason string) {
	t.Helper()
	tr.code(t, code)
	var m struct{ End *record.End }
	data, err := os.ReadFile(filepath.Join(tr.session(t), "metadata.json"))
	if err == nil {
		err = json.Unmarshal(data, &m)
	}
	if err != nil {
		t.Fatal(err)
	}
	if m.End == nil || m.End.Reason != reason {
		t.Errorf("metadata.json: end is %+v, want reason %s", m.End, reason)
	}
}

// decode makes the tables from the journal.
func (tr *tracer) decode(t *testing.T) {
	t.Helper()
	if out, err := exec.Command(tr.bench.pmtrace, "decode", tr.session(t)).CombinedOutput(); err != nil {
		t.Fatalf("pmtrace decode: %v\n%s", err, out)
	}
}

// finds looks for a finding, which pmtrace has said as it ended, too. Which is the first
// depends on how fast the machine is.
func (tr *tracer) finds(t *testing.T, want string) {
	t.Helper()
	out, err := exec.Command(tr.bench.pmtrace, "summary", "--json", tr.session(t)).Output()
	if err != nil {
		t.Fatalf("pmtrace summary: %v", err)
	}
	var list []struct {
		Name, Title string
	}
	if err := json.Unmarshal(out, &list); err != nil {
		t.Fatal(err)
	}
	for _, f := range list {
		if f.Name != want {
			continue
		}
		if !strings.Contains(tr.stderr.String(), f.Title) {
			t.Error("pmtrace ended without saying: " + f.Title)
		}
		return
	}
	t.Errorf("found %v, want %s", list, want)
}

// decodesTheSame compares all that decode makes of the journal alone with what
// was written live, to the byte.
func (tr *tracer) decodesTheSame(t *testing.T) {
	t.Helper()
	live := tr.session(t)
	copied := filepath.Join(filepath.Dir(live), "decoded", filepath.Base(live))
	if err := os.MkdirAll(copied, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(copied, "journal"), os.DirFS(filepath.Join(live, "journal"))); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(tr.bench.pmtrace, "decode", copied).CombinedOutput(); err != nil {
		t.Fatalf("pmtrace decode: %v\n%s", err, out)
	}
	out, err := exec.Command("diff", "-rq", "-x", "pmtrace.log", "-x", "shipped.json", live, copied).CombinedOutput()
	if err != nil {
		t.Errorf("decode makes other files than the live run: %v\n%s", err, out)
	}
}

// reachesTo: the tables tell of what happened at a time of CLOCK_MONOTONIC.
func (tr *tracer) reachesTo(t *testing.T, at time.Duration) {
	t.Helper()
	dir, err := session.Open(tr.session(t))
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	last := time.Duration(0)
	for op, err := range session.Rows[record.CPUOperationRow](dir) {
		if err != nil {
			t.Fatal(err)
		}
		last = max(last, time.Duration(op.TimeNS+op.DurNS))
	}
	zero := startOf(t, tr.session(t))
	if zero+last < at {
		t.Errorf("the tables end %v before", at-zero-last)
	}
	t.Logf("the tables reach to %v after %v", zero+last-at, at)
}

// pmtraceFails runs pmtrace to its end, which must be soon and bad: one line.
func (b *bench) pmtraceFails(t *testing.T, code int, line string, arguments ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	c := exec.CommandContext(ctx, b.pmtrace, arguments...)
	var stderr lines
	c.Stderr = &stderr
	err := c.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	b.failedLike(t, c.ProcessState.ExitCode(), code, stderr.String(), line)
}

// failedLike checks the exit code and the last line of stderr.
func (b *bench) failedLike(t *testing.T, got, code int, stderr, line string) {
	t.Helper()
	all := strings.Split(strings.TrimSpace(stderr), "\n")
	last := all[len(all)-1]
	t.Logf("exit code %d: %s", got, last)
	if got != code {
		t.Errorf("exit code %d, want %d: %s", got, code, stderr)
	}
	if !regexp.MustCompile(line).MatchString(last) {
		t.Errorf("the last line is %q, want %s", last, line)
	}
}
