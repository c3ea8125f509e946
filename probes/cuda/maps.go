package cuda

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path"
	"strconv"
	"strings"
)

// mapped is a file that the process has mapped.
type mapped struct {
	pid      int
	path     string // as the process sees it
	start    uint64 // of one of its mappings
	end      uint64
	device   string
	inode    uint64
	isGone   bool // deleted or replaced since
	isTorch  bool // torch's own part that links libcudart
	kind     Kind
	loadedAs string // base name
}

// maxMapped is more files than a process has mapped.
const maxMapped = 1024

// mappedFiles gives the files of interest among the process's mappings.
func mappedFiles(pid int, interesting func(name string) (mapped, bool)) ([]mapped, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return parseMaps(pid, f, interesting)
}

func parseMaps(pid int, r io.Reader, interesting func(name string) (mapped, bool)) ([]mapped, error) {
	var out []mapped
	seen := map[string]bool{}
	s := bufio.NewScanner(r)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		// A server has thousands of mappings and a handful of these.
		slash := strings.IndexByte(s.Text(), '/')
		if slash < 0 {
			continue
		}
		m, ok := interesting(s.Text()[slash:])
		if !ok || len(out) == maxMapped {
			continue
		}
		if !m.place(s.Text()[:slash]) || seen[m.device+m.path] {
			continue
		}
		m.pid = pid
		seen[m.device+m.path] = true
		out = append(out, m)
	}
	return out, s.Err()
}

func named(name string) mapped {
	m := mapped{}
	m.path, m.isGone = strings.CutSuffix(name, " (deleted)")
	m.loadedAs = path.Base(m.path)
	return m
}

// isCUDA says what a file is by its name.
func isCUDA(name string) (mapped, bool) {
	m := named(name)
	switch {
	case isLibrary(m.loadedAs, "libcudart"):
		m.kind = Runtime
	case isLibrary(m.loadedAs, "libcuda"):
		m.kind = Driver
	case strings.HasPrefix(m.loadedAs, "libnccl.so"): // not its plugins
		m.kind = NCCL
	case m.loadedAs == "libc10_cuda.so":
		m.isTorch = true
	default:
		return m, false
	}
	return m, true
}

// isLibrary accepts libcudart.so, libcudart.so.13, and what packagers make of it:
// libcudart-8774224f.so.12, libcudart.faf08d9a.so.13.
func isLibrary(base, name string) bool {
	rest, ok := strings.CutPrefix(base, name)
	if !ok || rest == "" || rest[0] != '.' && rest[0] != '-' {
		return false
	}
	return strings.Contains(rest, ".so.") || strings.HasSuffix(rest, ".so")
}

// place reads the columns before the path.
func (m *mapped) place(columns string) bool {
	f := strings.Fields(columns)
	if len(f) != 5 {
		return false
	}
	lo, hi, _ := strings.Cut(f[0], "-")
	var errs [3]error
	m.start, errs[0] = strconv.ParseUint(lo, 16, 64)
	m.end, errs[1] = strconv.ParseUint(hi, 16, 64)
	m.inode, errs[2] = strconv.ParseUint(f[4], 10, 64)
	m.device = f[3] + ":" + f[4]
	return errs == [3]error{}
}
