package vllm

import (
	"bufio"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-quicktest/qt"

	"github.com/pmtrace/pmtrace/probes/cpython"
)

// TestHostileEngine looks for an engine in memory in which words are wrong. It is found, or
// not, within a bounded time and without a panic.
func TestHostileEngine(t *testing.T) {
	forEachCPython(t, func(t *testing.T, python string) {
		live, err := openPython(startEngine(t, python), cpython.Options{})
		qt.Assert(t, qt.IsNil(err))
		recorder := cpython.Record(live.Memory())
		qt.Assert(t, qt.IsNil(resolveEngine(live.WithMemory(recorder))))

		rec := recorder.Recording()
		var numbers []uint64
		for n := range rec.Pages {
			numbers = append(numbers, n)
		}
		slices.Sort(numbers)
		rng := rand.New(rand.NewPCG(5, 6))
		found, longest := 0, time.Duration(0)
		const tries = 60
		for i := range tries {
			bad := &cpython.Recording{Pages: map[uint64][]byte{}}
			for _, n := range numbers {
				bad.Pages[n] = slices.Clone(rec.Pages[n])
			}
			for range 20 << (i % 6) {
				damage(rng, bad.Pages, numbers)
			}
			began := time.Now()
			if resolveEngine(live.WithMemory(bad)) == nil {
				found++
			}
			longest = max(longest, time.Since(began))
		}
		t.Logf("%d pages; found in %d of %d damaged memories, %v at most", len(numbers), found, tries, longest.Round(time.Millisecond))
		qt.Check(t, qt.IsTrue(longest < 10*time.Second))
	})
}

// resolveEngine is what Find does behind opening the interpreter.
func resolveEngine(rt *cpython.Runtime) error {
	interp, err := rt.MainInterpreter()
	if err != nil {
		return err
	}
	f := finder{live: rt, rt: rt, interp: interp}
	core, thread, err := f.engine()
	if err != nil {
		return err
	}
	e := &Engine{ThreadState: thread.Addr, Python: rt, core: core}
	r := resolver{rt: rt, interp: interp, core: core, e: e}
	return r.resolve()
}

// startEngine runs the program of vLLM's shape; it waits inside its engine's loop.
func startEngine(t *testing.T, python string) int {
	t.Helper()
	cmd := exec.Command(python, "-B", filepath.Join("..", "..", "e2e", "shape", "shape.py"))
	in, err := cmd.StdinPipe()
	qt.Assert(t, qt.IsNil(err))
	out, err := cmd.StdoutPipe()
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.IsNil(cmd.Start()))
	t.Cleanup(func() {
		in.Close()
		cmd.Process.Kill()
		cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	qt.Assert(t, qt.IsNil(err))
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	qt.Assert(t, qt.IsNil(err))
	return pid
}
