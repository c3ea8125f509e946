package main

import (
	"cmp"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/pmtrace/pmtrace/e2e/kept"
)

// results is what is kept.
type results struct {
	Cells []cell `json:"cells"`
}

const resultsName = "results" // .json, and .md in capitals

func readResults(dir string) (*results, error) {
	r := &results{}
	return r, kept.Read(dir, resultsName, r)
}

func (r *results) find(vllm, python string) *cell {
	for i := range r.Cells {
		if r.Cells[i].VLLM == vllm && r.Cells[i].Python == python {
			return &r.Cells[i]
		}
	}
	return nil
}

// modesOf says whether a cell is the one of its version that the modes are run in: that
// where they were, or the first that can run.
func (r *results) modesOf(vllm, python string) bool {
	for i := range r.Cells {
		if c := &r.Cells[i]; c.VLLM == vllm && c.Python != python && c.hasModes() {
			return false
		}
	}
	return true
}

func (r *results) put(c cell) {
	if old := r.find(c.VLLM, c.Python); old != nil {
		*old = c
		return
	}
	r.Cells = append(r.Cells, c)
	slices.SortFunc(r.Cells, func(a, b cell) int {
		return cmp.Or(slices.Compare(numbers(a.VLLM), numbers(b.VLLM)), slices.Compare(numbers(a.Python), numbers(b.Python)))
	})
}

func numbers(version string) []int {
	var out []int
	for part := range strings.SplitSeq(version, ".") {
		n, _ := strconv.Atoi(part)
		out = append(out, n)
	}
	return out
}

// keep puts a cell into what is kept by now: another matrix may run beside this one.
func keep(dir string, c cell) (*results, error) {
	lock, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return nil, err
	}
	r, err := readResults(dir)
	if err != nil {
		return nil, err
	}
	r.put(c)
	return r, r.write(dir)
}

func (r *results) write(dir string) error { return kept.Write(dir, resultsName, r, r.page()) }
