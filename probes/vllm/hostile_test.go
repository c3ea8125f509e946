package vllm

import (
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"github.com/go-quicktest/qt"

	"github.com/pmtrace/pmtrace/probes/cpython"
)

// TestHostileMemory walks over memory in which words are wrong. Whatever is
// there, the walks end, within their bounds and without a panic.
func TestHostileMemory(t *testing.T) {
	forEachCPython(t, func(t *testing.T, python string) {
		for _, shape := range []string{"v2", "old"} {
			p := start(t, python, filepath.Join("testdata", "worker.py"), shape)
			p.do(t, "import")
			p.do(t, "define")
			p.do(t, "capture")
			w, err := FindWorker(p.pid, Options{})
			qt.Assert(t, qt.IsNil(err))
			recorder := cpython.Record(w.Python.Memory())
			all := func(uint64) bool { return true }
			good := &Worker{PID: w.PID, Python: w.Python.WithMemory(recorder), interp: w.interp, offset: -1}
			walk(good, all)

			rec := recorder.Recording()
			numbers := make([]uint64, 0, len(rec.Pages))
			for n := range rec.Pages {
				numbers = append(numbers, n)
			}
			slices.Sort(numbers)
			rng := rand.New(rand.NewPCG(1, 2))
			for range 30 {
				bad := &cpython.Recording{Pages: map[uint64][]byte{}}
				for _, n := range numbers {
					bad.Pages[n] = slices.Clone(rec.Pages[n])
				}
				for range 40 {
					damage(rng, bad.Pages, numbers)
				}
				walk(&Worker{PID: w.PID, Python: w.Python.WithMemory(bad), interp: w.interp, offset: -1}, all)
			}
		}
	})
}

func walk(w *Worker, seen func(uint64) bool) {
	w.Functions()
	w.Runner()
	w.Graphs(seen)
}

// damage makes a word null, large, off by a little, or a pointer to elsewhere.
func damage(rng *rand.Rand, pages map[uint64][]byte, numbers []uint64) {
	const words = 4096 / 8
	page := pages[numbers[rng.IntN(len(numbers))]]
	at := page[8*rng.IntN(words):][:8]
	switch rng.IntN(4) {
	case 0:
		clear(at)
	case 1:
		for i := range at {
			at[i] = 0xff
		}
	case 2:
		at[0] ^= byte(1 << rng.IntN(8))
	case 3:
		other := pages[numbers[rng.IntN(len(numbers))]]
		copy(at, other[8*rng.IntN(words):])
	}
}
