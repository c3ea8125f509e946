//go:build e2e

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/pmtrace/pmtrace/decode/record"
)

// wrapped runs pmtrace behind a command that confines it.
func (s *shapeProgram) wrapped(t *testing.T, wrap []string, flags ...string) *tracer {
	t.Helper()
	argv := append(append(wrap, s.bench.pmtrace, "attach", "--pid", strconv.Itoa(s.pid), "--output-dir", s.place()), flags...)
	tr := &tracer{bench: s.bench, cmd: exec.Command(argv[0], argv[1:]...), done: make(chan struct{})}
	tr.cmd.Dir, tr.cmd.Stdout, tr.cmd.Stderr = s.bench.repo, &tr.out, &tr.stderr
	tr.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := tr.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = tr.cmd.Wait(); close(tr.done) }()
	t.Cleanup(func() { _ = syscall.Kill(-tr.cmd.Process.Pid, syscall.SIGKILL) })
	return tr
}

// refused: a confined pmtrace ends at once with one line, and leaves no session.
func (s *shapeProgram) refused(t *testing.T, code int, line string, wrap ...string) {
	t.Helper()
	tr := s.wrapped(t, wrap)
	if !tr.await(60 * time.Second) {
		t.Fatalf("pmtrace goes on: %s", tr.stderr.String())
	}
	s.failedLike(t, tr.cmd.ProcessState.ExitCode(), code, tr.stderr.String(), line)
	if sessions, _ := filepath.Glob(filepath.Join(s.place(), "session_*")); len(sessions) > 0 {
		t.Errorf("it leaves %v", sessions)
	}
}

// Where pmtrace cannot work it says why in one line, and the server is as before.
func TestConfined(t *testing.T) {
	b := shapeBench(t)
	s := b.counted(t, "3.13")
	s.begin(t)
	for _, c := range []struct {
		name, line string
		wrap       []string
	}{
		{"user namespace", `^pmtrace: cannot trace .*(user namespace|not permitted)`, []string{"unshare", "--user", "--map-root-user"}},
		{"no BTF", `^pmtrace: cannot .*BTF`, []string{"unshare", "--mount", "bash", "-c", `mount -t tmpfs none /sys/kernel/btf && exec "$@"`, "hidden"}},
		{"seccomp refuses perf_event_open", `^pmtrace: cannot trace .*(perf_event_open|seccomp|breakpoint)`, forbidding(t, unix.SYS_PERF_EVENT_OPEN)},
		{"seccomp refuses bpf", `^pmtrace: cannot .*(bpf|BPF|seccomp)`, forbidding(t, unix.SYS_BPF)},
		{"seccomp refuses process_vm_readv", `^pmtrace: `, forbidding(t, unix.SYS_PROCESS_VM_READV)},
	} {
		t.Run(c.name, func(t *testing.T) { s.refused(t, 3, c.line, c.wrap...) })
	}
	s.unharmed(t)
	hog(t, s.pid, 4)()
}

// forbidVariable has this test's binary run its arguments under a filter of seccomp.
const forbidVariable = "PMTRACE_TEST_FORBID"

func forbidding(t *testing.T, number int) []string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return []string{"env", forbidVariable + "=" + strconv.Itoa(number), self}
}

func TestMain(m *testing.M) {
	if number := os.Getenv(forbidVariable); number != "" {
		n, _ := strconv.Atoi(number)
		println(forbid(n).Error()) // returns only on failure
		os.Exit(99)
	}
	os.Exit(m.Run())
}

// forbid becomes the program of the arguments, in which a system call is answered EPERM.
func forbid(number int) error {
	runtime.LockOSThread()
	const allow, deny = 0x7fff0000, 0x00050000 | uint32(unix.EPERM)
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // seccomp_data.nr
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: uint32(number), Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: deny},
		{Code: unix.BPF_RET | unix.BPF_K, K: allow},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_PRCTL, unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&program))); errno != 0 {
		return errno
	}
	env := append(os.Environ(), forbidVariable+"=")
	return syscall.Exec(os.Args[1], os.Args[1:], env)
}

// The server is in PID, mount and user namespaces of its own, as in a rootless container.
func TestServerConfined(t *testing.T) {
	b := shapeBench(t)
	s := b.engineIn(t, []string{"unshare", "--user", "--map-root-user", "--pid", "--mount", "--fork", "--mount-proc", "--kill-child"}, "3.12", "--steps", "300")
	tr := s.attach(t)
	s.run(t)
	tr.stop(t, 0)
	s.shapeSteps(t).whole(t, tr.session(t), 0)
}

// engineIn starts the program behind a command; its number is the host's.
func (b *bench) engineIn(t *testing.T, wrap []string, version string, arguments ...string) *shapeProgram {
	t.Helper()
	s := &shapeProgram{bench: b, version: version, out: filepath.Join(b.out, t.Name())}
	fresh(t, s.out)
	s.file = filepath.Join(s.out, "truth.jsonl")
	argv := append(append(wrap, cpython(t, version), "-B", "e2e/shape/shape.py", "--truth", s.file, "--rate", "200", "--requests", "1000000"), arguments...)
	s.cmd = exec.Command(argv[0], argv[1:]...)
	s.cmd.Dir, s.cmd.Stderr = b.repo, os.Stderr
	t.Cleanup(func() { _ = s.cmd.Wait() })
	s.start(t)
	for pid := s.cmd.Process.Pid; ; {
		children, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/task/" + strconv.Itoa(pid) + "/children")
		if err != nil {
			t.Fatal(err)
		}
		list := strings.Fields(string(children))
		if len(list) == 0 {
			s.pid = pid
			return s
		}
		pid, _ = strconv.Atoi(list[0])
	}
}

// limits makes a cgroup with a limit, and gives the command that runs in it.
func limits(t *testing.T, controller, file, value string) []string {
	t.Helper()
	dir := filepath.Join("/sys/fs/cgroup", controller, "pmtrace-"+strings.ReplaceAll(t.Name(), "/", "-"))
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		t.Skip("this test sets limits by cgroup v1")
	}
	if err := os.Mkdir(dir, 0o755); err != nil && !os.IsExist(err) {
		t.Skipf("cannot make a cgroup: %v", err)
	}
	t.Cleanup(func() {
		for range 50 {
			if os.Remove(dir) == nil {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	})
	if err := os.WriteFile(filepath.Join(dir, file), []byte(value), 0o644); err != nil {
		t.Fatal(err)
	}
	return []string{"bash", "-c", `echo $$ > ` + dir + `/cgroup.procs && exec "$@"`, "limited"}
}

// pmtrace in a cgroup that is too small for it: it dies or says so, and the server goes on;
// in one with room it works.
func TestCgroups(t *testing.T) {
	full(t)
	b := shapeBench(t)
	s := b.counted(t, "3.14")
	s.begin(t)
	for _, c := range []struct {
		name, controller, file, value string
		traces                        bool
	}{
		{"24 MiB", "memory", "memory.limit_in_bytes", "25165824", false},
		{"5 tasks", "pids", "pids.max", "5", false},
		{"256 MiB", "memory", "memory.limit_in_bytes", "268435456", true},
		{"48 tasks", "pids", "pids.max", "48", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr := s.wrapped(t, limits(t, c.controller, c.file, c.value))
			if c.traces {
				tr.says(t, "tracing engine")
				s.makes(t, 200)
				tr.stop(t, 0)
				if n := stepsIn(t, tr.session(t)); n < 100 {
					t.Errorf("%d steps", n)
				}
				return
			}
			if tr.await(10 * time.Second) {
				t.Logf("it ended: %v, %.200s", tr.cmd.ProcessState, tr.stderr.String())
			} else {
				tr.kill(t) // it does all it can with so little: nobody was harmed
				t.Logf("it goes on: %.200s", tr.stderr.String())
			}
			hog(t, s.pid, 4)()
		})
	}
	s.unharmed(t)
}

// The server's memory cgroup pays for nothing of pmtrace's: with as good as no room left the
// server is traced, and not killed.
func TestServerCgroup(t *testing.T) {
	full(t)
	b := shapeBench(t)
	wrap := limits(t, "memory", "memory.limit_in_bytes", "67108864")
	s := b.engineIn(t, wrap, "3.12", "--steps", "600")
	usage := func() int {
		data, err := os.ReadFile(filepath.Join("/sys/fs/cgroup/memory/pmtrace-"+t.Name(), "memory.usage_in_bytes"))
		if err != nil {
			t.Fatal(err)
		}
		n, _ := strconv.Atoi(strings.TrimSpace(string(data)))
		return n
	}
	before := usage()
	tr := s.attach(t)
	after := usage()
	s.run(t)
	tr.stop(t, 0)
	s.shapeSteps(t).whole(t, tr.session(t), 0)
	if after-before > 2<<20 {
		t.Errorf("attaching took %d kB of the server's cgroup", (after-before)>>10)
	}
	t.Logf("the server's cgroup has %d kB, %d kB with pmtrace attached", before>>10, after>>10)
}

// pmtrace in a time namespace, whose monotonic clock is not the kernel's, would have each event
// at another time: it says so. A server in one is traced as any other.
func TestTimeNamespace(t *testing.T) {
	full(t)
	b := shapeBench(t)
	s := b.counted(t, "3.12")
	s.begin(t)
	ahead := []string{"unshare", "--time", "--fork", "--kill-child", "--monotonic", "86400", "--boottime", "86400"}
	s.refused(t, 3, `^pmtrace: cannot trace .*time namespace`, ahead...)
	t.Run("server", func(t *testing.T) {
		s := b.engineIn(t, ahead, "3.12", "--steps", "300")
		tr := s.attach(t)
		s.run(t)
		tr.stop(t, 0)
		s.shapeSteps(t).whole(t, tr.session(t), 0)
		collect(t, openSession(t, tr.session(t)), func(r *record.StepRow) {
			if r.StartNS < 0 || r.ScheduledNS > int64(time.Minute) || r.ScheduledNS-r.StartNS > int64(time.Second) || r.ScheduledNS < r.StartNS {
				t.Errorf("step %d: scheduled from %d to %d ns", r.StepID, r.StartNS, r.ScheduledNS)
			}
		})
	})
}
