package cupti

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-quicktest/qt"

	"github.com/pmtrace/pmtrace/cupti/inject"
	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/decode/wire"
)

var built = sync.OnceValues(func() (dir string, err error) {
	if dir, err = os.MkdirTemp("", "pmtrace-mock-"); err != nil {
		return "", err
	}
	for _, args := range [][]string{
		{"-shared", "-fPIC", "-Wl,-soname,libcupti.so.13", "-o", "libcupti.so.13", "inject/testdata/cupti.c", "-pthread"},
		{"-o", "host", "inject/testdata/host.c", "-ldl", "-pthread"},
		{"-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", "-o", "libcuda.so.1", "-xc", "inject/testdata/cuda.c"},
	} {
		for i := range args {
			if i > 0 && args[i-1] == "-o" {
				args[i] = filepath.Join(dir, args[i])
			}
		}
		if out, err := exec.Command("cc", append([]string{"-O1", "-g", "-Wall", "-Wextra", "-Werror"}, args...)...).CombinedOutput(); err != nil {
			return dir, fmt.Errorf("%w: %s", err, out)
		}
	}
	return dir, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if dir, err := built(); err == nil {
		os.RemoveAll(dir)
	}
	os.Exit(code)
}

// host is a process that loads the library on the tests' libcupti.
type host struct {
	t       *testing.T
	cmd     *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Reader
	pid     int
	thread  uint32
	inject  *inject.Injection
	reader  *Reader
	events  [][]byte
	state   record.Injected // newest
	stopped bool
}

type hostOptions struct {
	mock    string // MOCK_CUPTI
	kernels inject.Kernels
	copies  bool // in windows alone
	ring    int
	moe     int // weights of one in so many; 0: no choices
	env     []string
	without bool // a libcupti
}

// newHost starts one; load lets it come to CUDA.
func newHost(t *testing.T, o hostOptions) *host {
	t.Helper()
	if _, err := exec.LookPath("cc"); err != nil {
		t.Skip("no C compiler")
	}
	dir, err := built()
	qt.Assert(t, qt.IsNil(err))
	i, err := inject.New(inject.Options{Candidates: []string{t.TempDir()}, UID: os.Geteuid(), GID: os.Getegid(), Kernels: o.kernels, CopiesInWindows: o.copies, RingBytes: o.ring, MoE: o.moe > 0, MoEWeights: o.moe})
	qt.Assert(t, qt.IsNil(err))
	h := &host{t: t, inject: i, cmd: exec.Command(filepath.Join(dir, "host"))}
	h.cmd.Stderr = os.Stderr
	if !o.without {
		h.cmd.Env = append(h.cmd.Env, "MOCK_CUPTI_PATH="+filepath.Join(dir, "libcupti.so.13"))
	}
	h.cmd.Env = append(h.cmd.Env, "MOCK_CUPTI="+o.mock, "MOCK_CUDA_PATH="+filepath.Join(dir, "libcuda.so.1"))
	for name, value := range i.Environment() {
		h.cmd.Env = append(h.cmd.Env, name+"="+value)
	}
	h.cmd.Env = append(h.cmd.Env, o.env...)
	h.in, err = h.cmd.StdinPipe()
	qt.Assert(t, qt.IsNil(err))
	out, err := h.cmd.StdoutPipe()
	qt.Assert(t, qt.IsNil(err))
	h.out = bufio.NewReader(out)
	qt.Assert(t, qt.IsNil(h.cmd.Start()))
	t.Cleanup(func() { _ = h.cmd.Process.Kill(); _ = h.cmd.Wait() })
	var thread int
	_, err = fmt.Sscan(h.line(), &h.pid, &thread)
	h.thread = uint32(thread)
	qt.Assert(t, qt.IsNil(err))
	h.reader, err = Open(i.Dir, i.Session)
	qt.Assert(t, qt.IsNil(err))
	t.Cleanup(func() { h.reader.Close(); i.Remove() })
	return h
}

func (h *host) line() string {
	h.t.Helper()
	line, err := h.out.ReadString('\n')
	qt.Assert(h.t, qt.IsNil(err))
	return strings.TrimSpace(line)
}

// do gives a command and returns the answer.
func (h *host) do(format string, args ...any) string {
	h.t.Helper()
	fmt.Fprintf(h.in, format+"\n", args...)
	return h.line()
}

func (h *host) enabled() int {
	h.t.Helper()
	n, err := strconv.Atoi(h.do("enabled"))
	qt.Assert(h.t, qt.IsNil(err))
	return n
}

// poll reads once.
func (h *host) poll() {
	h.t.Helper()
	h.look()
	qt.Assert(h.t, qt.IsNil(h.reader.Drain(h.stopped, func(b []byte) error {
		h.events = append(h.events, append([]byte(nil), b...))
		return nil
	})))
	h.look()
}

func (h *host) look() {
	for _, f := range h.reader.Look() {
		h.state = *f.Injected
	}
}

// until polls until something is so.
func (h *host) until(what string, is func() bool) {
	h.t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		h.poll()
		if is() {
			return
		}
		if time.Now().After(end) {
			h.t.Fatalf("never %s: %+v, %d events", what, h.state, len(h.events))
		}
	}
}

func (h *host) is(state State) func() bool {
	return func() bool { return h.state.State == state.String() }
}

func (h *host) load(state State) {
	h.t.Helper()
	qt.Assert(h.t, qt.Equals(h.do("load"), "1"))
	h.until(state.String(), h.is(state))
}

// exits ends it and looks at its code.
func (h *host) exits(command string, code int) {
	h.t.Helper()
	fmt.Fprintln(h.in, command)
	_ = h.cmd.Wait()
	qt.Assert(h.t, qt.Equals(h.cmd.ProcessState.ExitCode(), code))
}

func (h *host) count(k wire.Kind) (n int) {
	for _, b := range h.events {
		var head wire.Header
		qt.Assert(h.t, qt.IsNil(head.Read(b)))
		if head.Kind == k {
			n++
		}
	}
	return n
}

// events of a kind
func each[T any](h *host, k wire.Kind, read func(*T, wire.Header, []byte) error) (out []T) {
	h.t.Helper()
	for _, b := range h.events {
		var head wire.Header
		qt.Assert(h.t, qt.IsNil(head.Read(b)))
		if head.Kind == k {
			var v T
			qt.Assert(h.t, qt.IsNil(read(&v, head, b)))
			out = append(out, v)
		}
	}
	return out
}

func (h *host) lost(reason string) uint64 {
	for _, l := range h.reader.Losses() {
		if l.Reason == reason {
			return l.Count
		}
	}
	return 0
}
