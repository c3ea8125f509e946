package main

import (
	"os"
	"testing"
	"time"

	"github.com/go-quicktest/qt"
	"kernel.org/pub/linux/libs/security/libcap/cap"

	"github.com/pmtrace/pmtrace/probes/target"
)

func serverAt(pid, port int, start time.Duration, command ...string) target.Server {
	return target.Server{Root: pid, Port: port, Processes: []target.Process{{PID: pid, Command: command, StartNS: start.Nanoseconds()}}}
}

// What comes back is told from what was there, and from what is another server.
func TestServerComesBack(t *testing.T) {
	ended := 100 * time.Second
	old := serverAt(1, 8000, time.Second, "vllm", "serve", "m")
	for name, c := range map[string]struct {
		old  target.Server
		now  []target.Server
		want int // root; 0: none
	}{
		"nobody":               {old, nil, 0},
		"same command":         {old, []target.Server{serverAt(2, 8000, ended+time.Second, "vllm", "serve", "m")}, 2},
		"another model there":  {old, []target.Server{serverAt(2, 8000, ended+time.Second, "vllm", "serve", "other")}, 2},
		"another port":         {old, []target.Server{serverAt(2, 8001, ended+time.Second, "vllm", "serve", "m")}, 0},
		"was there before":     {old, []target.Server{serverAt(2, 8000, ended-time.Second, "vllm", "serve", "m")}, 0},
		"its number once more": {old, []target.Server{serverAt(1, 8000, ended+time.Second, "vllm", "serve", "m")}, 1},
		"the likest of two": {old, []target.Server{
			serverAt(2, 8000, ended+time.Second, "vllm", "serve", "x"), serverAt(3, 8000, ended+2*time.Second, "vllm", "serve", "m"),
		}, 3},
		"a program without a port": {serverAt(1, 0, 0, "python", "run.py"), []target.Server{
			serverAt(2, 8000, ended+time.Second, "vllm", "serve", "m"), serverAt(3, 0, ended+time.Second, "python", "run.py"),
		}, 3},
		"another program": {serverAt(1, 0, 0, "python", "run.py"), []target.Server{serverAt(2, 0, ended+time.Second, "python", "other.py")}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFollowed(c.old, ended.Nanoseconds())
			s, ok := f.back(c.now)
			qt.Check(t, qt.Equals(s.Root, c.want))
			qt.Check(t, qt.Equals(ok, c.want != 0))
		})
	}
}

// Besides the four, root keeps what its task needs and nothing else.
func TestKeeps(t *testing.T) {
	b := newBench(t)
	b.world.euid = 0
	own := t.TempDir()
	sudo := newEnvironment([]string{"SUDO_UID=1000", "SUDO_GID=1000"})
	for name, c := range map[string]struct {
		euid int
		env  environment
		o    traceOptions
		mode string
		more []cap.Value
	}{
		"user":            {1000, environment{}, traceOptions{place: own, gpuSampling: samplingOff}, modeAttach, nil},
		"sudo":            {0, sudo, traceOptions{place: own, gpuSampling: samplingOff}, modeAttach, []cap.Value{cap.DAC_OVERRIDE, cap.CHOWN, cap.FOWNER}},
		"record by sudo":  {0, sudo, traceOptions{place: own}, modeRecord, []cap.Value{cap.DAC_OVERRIDE, cap.CHOWN, cap.FOWNER, cap.KILL}},
		"profile by sudo": {0, sudo, traceOptions{place: own, starts: true}, modeRecord, []cap.Value{cap.DAC_OVERRIDE, cap.CHOWN, cap.FOWNER, cap.KILL, cap.SETUID, cap.SETGID}},
		"record by root":  {0, environment{}, traceOptions{place: "/proc/nowhere"}, modeRecord, []cap.Value{cap.KILL}},
		"root in root's":  {0, environment{}, traceOptions{place: "/proc/nowhere", gpuSampling: samplingOff}, modeAttach, nil},
		"root and counters": {0, environment{}, traceOptions{place: "/proc/nowhere", gpuSampling: "windows"}, modeAttach,
			[]cap.Value{cap.SYS_ADMIN, cap.SETUID, cap.SETGID}},
	} {
		t.Run(name, func(t *testing.T) {
			if len(c.env) > 0 && os.Geteuid() != 0 {
				t.Skip("needs root: sudo's variables count for nobody else")
			}
			b.world.euid, b.env = c.euid, c.env
			qt.Check(t, qt.DeepEquals(b.keeps(&c.o, c.mode), append(traceCapabilities(), c.more...)))
		})
	}
}
