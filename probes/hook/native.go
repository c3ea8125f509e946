package hook

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pmtrace/pmtrace/probes/cuda"
)

// NativeFunction is a function in a file that a process has mapped.
type NativeFunction struct {
	Path      string // as the process sees it
	Functions *cuda.Functions
	Offsets   []uint64 // in the file; several where the symbol has several versions
}

// Close closes the file. Probes on it stay.
func (f *NativeFunction) Close() error { return f.Functions.Close() }

// FindNative finds an exported function in the libraries of a process, or in its
// program.
func FindNative(pid int, s Spec) (*NativeFunction, error) {
	missing := func(why, remedy string) error { return &NotFoundError{s.String(), why, remedy} }
	libs, err := cuda.Mapped(pid, func(base string) bool { return isFile(base, s.Where) })
	if err != nil {
		return nil, err
	}
	if len(libs) == 0 {
		return nil, missing(fmt.Sprintf("process %d has mapped no file %s", pid, s.Where), offer(near(s.Where, mappedNames(pid))))
	}
	var names []string
	for _, l := range libs {
		all, err := l.Open(func(name string) bool { return name == s.Function })
		if err != nil {
			return nil, missing(err.Error(), "name another library")
		}
		if at := all.Offsets(s.Function); len(at) > 0 {
			return &NativeFunction{Path: l.Path, Functions: all, Offsets: at}, nil
		}
		all.Close()
		names = append(names, exported(l)...)
	}
	return nil, missing(fmt.Sprintf("%s exports no function %s", libs[0].Path, s.Function), offer(near(s.Function, names)))
}

// isFile says whether a file is the one that was named: libfoo.so is libfoo.so.1.2,
// too.
func isFile(base, name string) bool {
	rest, ok := strings.CutPrefix(base, name)
	return ok && (rest == "" || strings.HasSuffix(name, ".so") && rest[0] == '.')
}

func exported(l cuda.Library) []string {
	all, err := l.Open(func(string) bool { return true })
	if err != nil {
		return nil
	}
	defer all.Close()
	return all.Names()
}

// mappedLike gives the libraries whose file names contain one.
func mappedLike(pid int, name string) ([]cuda.Library, error) {
	return cuda.Mapped(pid, func(base string) bool { return strings.Contains(base, name) && strings.Contains(base, ".so") })
}

func mappedNames(pid int) []string {
	libs, err := mappedLike(pid, ".so")
	if err != nil {
		return nil
	}
	var out []string
	for _, l := range libs {
		out = append(out, l.Path[strings.LastIndexByte(l.Path, '/')+1:])
	}
	slices.Sort(out)
	return slices.Compact(out)
}
