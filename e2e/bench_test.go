//go:build e2e

package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// bench is what all servers share: programs and places.
type bench struct {
	repo, out string
	version   string
	pmtrace   string
	truth     string
	python    string
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := besideOthers(t)
	alone(t)
	return b
}

// besideOthers is a bench whose servers may run beside another test's.
func besideOthers(t *testing.T) *bench {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: hardware breakpoints on another process")
	}
	repo, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{repo: repo, version: os.Getenv("PMTRACE_E2E_VLLM")}
	if b.version == "" {
		b.version = "0.32.0"
	}
	b.out = filepath.Join(repo, "build", "e2e-"+b.version)
	b.pmtrace, b.truth = filepath.Join(b.out, "pmtrace"), filepath.Join(b.out, "truth")
	b.python = filepath.Join(cacheDir(t), "vllm-"+b.version, "bin", "python")
	if _, err := os.Stat(b.python); err != nil {
		t.Fatalf("no vLLM %s (%v): e2e/setup/vllm.sh %s makes it", b.version, err, b.version)
	}
	if err := os.MkdirAll(b.out, 0o755); err != nil {
		t.Fatal(err)
	}
	b.build(t, b.pmtrace, "./cmd/pmtrace")
	b.build(t, b.truth, "./e2e/truth")
	return b
}

// cacheDir is where e2e/setup puts what it installs.
func cacheDir(t *testing.T) string {
	t.Helper()
	if dir := os.Getenv("PMTRACE_CACHE"); dir != "" {
		return dir
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "pmtrace")
}

// build makes a program. Where there is no Go, $PMTRACE_E2E_PROGRAMS is where they lie already.
func (b *bench) build(t *testing.T, to, pkg string) {
	t.Helper()
	if made := os.Getenv("PMTRACE_E2E_PROGRAMS"); made != "" {
		_ = os.Remove(to)
		if err := os.Symlink(filepath.Join(made, filepath.Base(to)), to); err != nil {
			t.Fatal(err)
		}
		return
	}
	c := exec.Command("go", "build", "-trimpath", "-o", to, pkg)
	c.Dir, c.Env = b.repo, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("go build %s: %v\n%s", pkg, err, out)
	}
}

// alone waits until no other test has a server: they would disturb each other's
// times.
func alone(t *testing.T) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(os.TempDir(), "vllm-server.lock"), os.O_RDWR|os.O_CREATE|syscall.O_CLOEXEC, 0o666)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
}

// server is a vLLM server.
type server struct {
	*bench
	out    string // place of what belongs to it
	log    string
	pid    int
	url    string
	tracer *tracer // record: its parent
	python string
	ask    *inProcess
}

// in is the same server with a place of its own for what a test leaves.
func (s *server) in(t *testing.T) *server {
	t.Helper()
	c := *s
	c.out = filepath.Join(s.out, filepath.Base(t.Name()))
	fresh(t, c.out)
	return &c
}

func fresh(t *testing.T, dir string) {
	t.Helper()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
}

// serve starts a server and stops it when the test is over.
func (b *bench) serve(t *testing.T, name string, flags ...string) *server {
	t.Helper()
	s := &server{bench: b, out: filepath.Join(b.out, name), python: b.python}
	fresh(t, s.out)
	s.log = filepath.Join(s.out, "server.log")
	out := b.script(t, "e2e/serve.sh", append([]string{"start", b.version, s.log}, flags...)...)
	port := 0
	if _, err := fmt.Sscan(out, &s.pid, &port); err != nil {
		t.Fatalf("serve.sh says %q: %v", out, err)
	}
	s.url = fmt.Sprintf("http://127.0.0.1:%d", port)
	t.Cleanup(func() { b.script(t, "e2e/serve.sh", "stop", strconv.Itoa(s.pid)) })
	return s
}

func (b *bench) script(t *testing.T, script string, arguments ...string) string {
	t.Helper()
	c := exec.Command(script, arguments...)
	c.Dir = b.repo
	var stderr bytes.Buffer
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", script, arguments, err, stderr.Bytes())
	}
	return string(out)
}

// settle waits for what comes after the last answer: aborts of clients that hung
// up, the engine's last (empty) step, the log.
func (s *server) settle() { time.Sleep(1500 * time.Millisecond) }

func (s *server) scrape(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(s.out, name+".json")
	out := s.script(t, s.python, "e2e/load/metrics.py", "scrape", s.url)
	if err := os.WriteFile(path, []byte(out), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// load runs a load to its end and returns the file of what the clients got.
func (s *server) load(t *testing.T, name string, flags ...string) string {
	t.Helper()
	return s.begin(t, name, flags...).wait(t)
}

// running is a load that goes on.
type running struct {
	cmd  *exec.Cmd
	path string
	out  bytes.Buffer
}

func (s *server) begin(t *testing.T, name string, flags ...string) *running {
	t.Helper()
	r := &running{path: filepath.Join(s.out, name+".jsonl")}
	prefix := filepath.Base(s.out) + "-" + name
	prefix = strings.Map(func(c rune) rune {
		if c == ' ' || c == '_' {
			return '-'
		}
		return c
	}, prefix)
	r.cmd = exec.Command(s.python, append([]string{"e2e/load/load.py", "--url", s.url, "--out", r.path, "--id-prefix", prefix}, flags...)...)
	r.cmd.Dir, r.cmd.Stdout, r.cmd.Stderr = s.repo, &r.out, &r.out
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.cmd.Process.Kill() })
	return r
}

// enough has it send no new request.
func (r *running) enough(t *testing.T) {
	t.Helper()
	if err := r.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
}

func (r *running) wait(t *testing.T) string {
	t.Helper()
	if err := r.cmd.Wait(); err != nil {
		t.Fatalf("load: %v\n%s", err, r.out.Bytes())
	}
	t.Logf("load: %s", bytes.ReplaceAll(bytes.TrimSpace(r.out.Bytes()), []byte("\n"), nil))
	return r.path
}

// fails waits for a load whose server is gone.
func (r *running) fails(t *testing.T) {
	t.Helper()
	if r.cmd.Wait() == nil {
		t.Error("the load ended well, though its server was killed")
	}
}

func (s *server) signal(t *testing.T, sig syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(s.pid, sig); err != nil {
		t.Fatal(err)
	}
}

// signalAll signals all processes of the server.
func (s *server) signalAll(t *testing.T, sig syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(-s.pid, sig); err != nil {
		t.Fatal(err)
	}
}

// engine is the process (and thread) of the engine.
func (s *server) engine(t *testing.T) int {
	t.Helper()
	out, err := exec.Command("pgrep", "-P", strconv.Itoa(s.pid), "-f", "^VLLM::EngineCore").Output()
	if err != nil {
		t.Fatalf("no engine below %d: %v", s.pid, err)
	}
	pid, err := strconv.Atoi(strings.Fields(string(out))[0])
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// truth compares a session with the server's word.
func (s *server) truth(t *testing.T, tr *tracer, flags ...string) {
	t.Helper()
	all := append([]string{"--session", tr.session(t), "--log", s.log, "--log-from", strconv.FormatInt(tr.from, 10)}, flags...)
	if file := os.Getenv("PMTRACE_E2E_SUMMARY"); file != "" {
		all = append(all, "--summary", file, "--name", t.Name())
	}
	out, err := exec.Command(s.bench.truth, all...).CombinedOutput()
	t.Logf("truth %s\n%s", strings.Join(all, " "), out)
	if err != nil {
		t.Errorf("truth: %v", err)
	}
}

// monotonic is CLOCK_MONOTONIC.
func monotonic() time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	return time.Duration(ts.Nano())
}

// lines is what a process has written so far.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}
