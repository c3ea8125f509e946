package cpython

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/go-quicktest/qt"
)

// skipEnv allows these tests to pass without the interpreters.
const skipEnv = "PMTRACE_TEST_SKIP_CPYTHON"

// interpreter is a Python to test against.
type interpreter struct {
	name, path string
	minor      int
	needed     bool // its absence is a failure
}

// interpreters gives those that e2e/setup/cpythons.sh installs, and others
// that a machine may have: a static executable, other micro versions.
func interpreters() []interpreter {
	cache := os.Getenv("XDG_CACHE_HOME")
	if cache == "" {
		cache = filepath.Join(os.Getenv("HOME"), ".cache")
	}
	at := func(v string) string { return filepath.Join(cache, "pmtrace", "cpython", v, "python") }
	pyenv := func(v string) string {
		return filepath.Join(os.Getenv("HOME"), ".pyenv", "versions", v, "bin", "python3")
	}
	return []interpreter{
		{"3.10", at("3.10"), 10, true},
		{"3.11", at("3.11"), 11, true},
		{"3.12", at("3.12"), 12, true},
		{"3.13", at("3.13"), 13, true},
		{"3.14", at("3.14"), 14, true},
		{"debian-static", "/usr/bin/python3.11", 11, false},
		{"pyenv-3.10.13", pyenv("3.10.13"), 10, false},
		{"pyenv-3.11.7", pyenv("3.11.7"), 11, false},
		{"pyenv-3.12.1", pyenv("3.12.1"), 12, false},
		{"pyenv-3.13.0", pyenv("3.13.0"), 13, false},
	}
}

// forEachInterpreter runs fn as a subtest for each interpreter of at least the
// minor version oldest.
func forEachInterpreter(t *testing.T, oldest int, fn func(t *testing.T, py interpreter)) {
	for _, py := range interpreters() {
		if py.minor < oldest {
			continue
		}
		_, err := os.Stat(py.path)
		if err != nil && !py.needed {
			continue
		}
		t.Run(py.name, func(t *testing.T) {
			if err != nil && os.Getenv(skipEnv) != "" {
				t.Skipf("no %s, and %s is set", py.path, skipEnv)
			}
			qt.Assert(t, qt.IsNil(err), qt.Commentf("run e2e/setup/cpythons.sh, or set %s", skipEnv))
			fn(t, py)
		})
	}
}

// process is a Python program that talks JSON lines on its standard streams.
type process struct {
	pid   int
	stdin *os.File
	out   *bufio.Reader
}

// start runs script and ends it with the test.
func start(t *testing.T, argv ...string) *process {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	r, w, err := os.Pipe()
	qt.Assert(t, qt.IsNil(err))
	cmd.Stdin, cmd.Stderr = r, os.Stderr
	cmd.Env = append(os.Environ(), "PYTHON_JIT=0")
	out, err := cmd.StdoutPipe()
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.IsNil(cmd.Start()))
	r.Close()
	t.Cleanup(func() {
		w.Close()
		cmd.Process.Kill()
		cmd.Wait()
	})
	return &process{pid: cmd.Process.Pid, stdin: w, out: bufio.NewReader(out)}
}

// answer reads the next line into v. It ends when the process does.
func (p *process) answer(t *testing.T, v any) {
	t.Helper()
	line, err := p.out.ReadBytes('\n')
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.IsNil(json.Unmarshal(line, v)))
}

// do sends a step and reads its answer.
func (p *process) do(t *testing.T, step string, v any) {
	t.Helper()
	_, err := p.stdin.WriteString(step + "\n")
	qt.Assert(t, qt.IsNil(err))
	p.answer(t, v)
}

// truth is what known.py says about itself.
type truth struct {
	Version string
	None    uint64
	Facts   []fact
	Thread  struct {
		NativeID  int `json:"native_id"`
		Engine    uint64
		SharedVar uint64 `json:"shared_var"`
		PlainVar  uint64 `json:"plain_var"`
		Names     []string
	}
	MainNativeID int `json:"main_native_id"`
	Globals      uint64
}

type fact struct {
	Kind, Label, Key, Storage string
	Addr                      uint64
	Want                      json.RawMessage
}

func (f fact) into(t *testing.T, v any) {
	t.Helper()
	qt.Assert(t, qt.IsNil(json.Unmarshal(f.Want, v)))
}

// known starts known.py under py and opens it.
func known(t *testing.T, py interpreter) (*process, *Runtime, truth) {
	t.Helper()
	p := start(t, py.path, filepath.Join("testdata", "known.py"))
	var tr truth
	p.answer(t, &tr)
	r, err := Open(p.pid, Options{})
	qt.Assert(t, qt.IsNil(err))
	return p, r, tr
}
