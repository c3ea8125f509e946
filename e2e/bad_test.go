//go:build e2e

package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/pmtrace/pmtrace/decode/record"
)

// badCases are what can go wrong, each with its one line and exit code.
func badCases(t *testing.T, s *server) {
	t.Run("no such pid", func(t *testing.T) {
		s.pmtraceFails(t, 3, `^pmtrace: cannot trace process 4194000: no such process; `, "attach", "--pid", "4194000")
	})
	t.Run("not Python", func(t *testing.T) {
		c := exec.Command("sleep", "60")
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		defer c.Process.Kill()
		s.pmtraceFails(t, 3, `^pmtrace: cannot trace process \d+: it is not a Python process; `, "attach", "--pid", strconv.Itoa(c.Process.Pid))
	})
	t.Run("not vLLM", func(t *testing.T) {
		c := exec.Command(s.python, "-c", "import time; time.sleep(60)")
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		defer c.Process.Kill()
		time.Sleep(time.Second)
		s.pmtraceFails(t, 3, `^pmtrace: cannot trace process \d+: it runs Python, but not vLLM; `, "attach", "--pid", strconv.Itoa(c.Process.Pid))
	})
	t.Run("output directory not writable", func(t *testing.T) {
		// Root may write everywhere, except where nobody may.
		dir := t.TempDir()
		mount(t, "tmpfs", dir, "ro,size=64k")
		s.pmtraceFails(t, 1, `^pmtrace: cannot write .*: read-only file system; .*--output-dir`,
			"attach", "--pid", strconv.Itoa(s.pid), "--output-dir", filepath.Join(dir, "there"))
	})
	t.Run("output directory is a file", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		s.pmtraceFails(t, 1, `^pmtrace: cannot write .* is not a directory; .*--output-dir`,
			"attach", "--pid", strconv.Itoa(s.pid), "--output-dir", file)
	})
	t.Run("all slots are taken", func(t *testing.T) {
		hog(t, s.engine(t), 4)
		s.pmtraceFails(t, 3, `^pmtrace: cannot trace .*breakpoint.* taken; `,
			"attach", "--pid", strconv.Itoa(s.pid), "--output-dir", t.TempDir())
	})
	for taken := 1; taken <= 3; taken++ {
		t.Run(strconv.Itoa(taken)+" slots are taken", func(t *testing.T) { someTaken(t, s, taken) })
	}
	t.Run("disk full", func(t *testing.T) { diskFull(t, s) })
}

// someTaken: the steps are there all the same, and metadata.json names what is
// not.
func someTaken(t *testing.T, s *server, taken int) {
	s = s.in(t)
	hog(t, s.engine(t), taken)
	tr := s.attach(t)
	load := s.load(t, "load", "-c", "8", "-n", "16", "--seed", strconv.Itoa(20+taken))
	s.settle()
	tr.stop(t, 0)
	s.truth(t, tr, "--load", load)
	var m struct {
		Engines     []record.Engine
		Unavailable []record.Unavailable
	}
	data, err := os.ReadFile(filepath.Join(tr.session(t), "metadata.json"))
	if err == nil {
		err = json.Unmarshal(data, &m)
	}
	if err != nil {
		t.Fatal(err)
	}
	order := []string{"schedule_return", "free_blocks", "update_return", "update_entry"}
	if got, want := strings.Join(m.Engines[0].Watches, " "), strings.Join(order[:4-taken], " "); got != want {
		t.Errorf("watches: %s, want %s", got, want)
	}
	columns := 0
	for _, u := range m.Unavailable {
		if strings.Contains(u.Reason, "breakpoint") {
			columns += len(u.Columns) + 1
		}
	}
	if columns < taken {
		t.Errorf("metadata.json does not name what is missing: %+v", m.Unavailable)
	}
	t.Logf("unavailable: %+v", m.Unavailable)
}

// hog takes n of the four breakpoints of a thread; release gives them back, as the test's end does.
func hog(t *testing.T, tid, n int) (release func()) {
	t.Helper()
	var word [4]uint64
	var fds []int
	release = sync.OnceFunc(func() {
		for _, fd := range fds {
			unix.Close(fd)
		}
	})
	t.Cleanup(release)
	for i := range n {
		attr := unix.PerfEventAttr{
			Type: 5, Size: uint32(unsafe.Sizeof(unix.PerfEventAttr{})), Sample: 1, // PERF_TYPE_BREAKPOINT
			Bp_type: 2, Ext1: uint64(uintptr(unsafe.Pointer(&word[i]))), Ext2: 8, // HW_BREAKPOINT_W
			Bits: unix.PerfBitExcludeKernel | unix.PerfBitExcludeHv | unix.PerfBitDisabled,
		}
		fd, err := unix.PerfEventOpen(&attr, tid, -1, -1, unix.PERF_FLAG_FD_CLOEXEC)
		if err != nil {
			t.Fatalf("take breakpoint %d of thread %d: %v", i, tid, err)
		}
		fds = append(fds, fd)
	}
	return release
}

// diskFull: pmtrace ends with one line, the server goes on, and what fitted can
// be read.
func diskFull(t *testing.T, s *server) {
	s = s.in(t)
	dir := filepath.Join(s.out, "small")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	mount(t, "tmpfs", dir, "size=128k") // room for the beginnings of all files, and for some seconds
	from := s.logSize(t)
	tr := s.run(t, "attach", "--pid", strconv.Itoa(s.pid), "--output-dir", dir)
	tr.from = from
	tr.says(t, "tracing engine")
	load := s.load(t, "load", "-c", "32", "-n", "600", "--seed", "30")
	if !tr.await(30 * time.Second) {
		t.Fatalf("pmtrace goes on without a disk: %s", tr.stderr.String())
	}
	s.failedLike(t, tr.cmd.ProcessState.ExitCode(), 1, tr.stderr.String(), `^pmtrace: .*no space left on device; .*pmtrace decode`)
	// On a disk with room the journal can be decoded.
	elsewhere := filepath.Join(s.out, filepath.Base(tr.session(t)))
	if err := os.MkdirAll(elsewhere, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(elsewhere, "journal"), os.DirFS(filepath.Join(tr.session(t), "journal"))); err != nil {
		t.Fatal(err)
	}
	moved := &tracer{bench: s.bench, from: from}
	_, _ = moved.stderr.Write([]byte("pmtrace: writing to " + elsewhere + "\n"))
	moved.decode(t)
	s.truth(t, moved, "--load", load, "--cut")
}

func mount(t *testing.T, kind, dir, options string) {
	t.Helper()
	if out, err := exec.Command("mount", "-t", kind, "-o", options, kind, dir).CombinedOutput(); err != nil {
		t.Skipf("cannot mount a %s here: %v: %s", kind, err, out)
	}
	t.Cleanup(func() { _ = exec.Command("umount", dir).Run() })
}
