package cuda

import (
	"debug/elf"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
)

// Kind is which library it is.
type Kind string

// The libraries.
const (
	Runtime Kind = "cudart"
	Driver  Kind = "cuda"
	NCCL    Kind = "nccl"
)

// Library is a CUDA library that a process has mapped.
type Library struct {
	Path string // as the process sees it
	Kind Kind
	// Skipped says why the process's calls do not go to it; empty: they may.
	Skipped string

	file mapped
}

// ID tells one library of a process from another.
func (l Library) ID() string { return l.file.device + " " + l.Path }

// Find gives the CUDA libraries that a process has mapped by now, in the order of
// their addresses. Of several copies of libcudart those are Skipped that torch
// does not link.
func Find(pid int) ([]Library, error) {
	files, err := mappedFiles(pid, isCUDA)
	if err != nil {
		return nil, fmt.Errorf("mappings of process %d: %w", pid, err)
	}
	var libs []Library
	var torch []mapped
	for _, f := range files {
		if f.isTorch {
			torch = append(torch, f)
			continue
		}
		libs = append(libs, Library{Path: f.path, Kind: f.kind, file: f})
	}
	choose(libs, func() []string { return needed(torch) }, soname)
	return libs, nil
}

// Mapped gives the files that a process has mapped under names that fit, whatever
// they are.
func Mapped(pid int, fits func(base string) bool) ([]Library, error) {
	files, err := mappedFiles(pid, func(name string) (mapped, bool) {
		m := named(name)
		return m, fits(m.loadedAs)
	})
	if err != nil {
		return nil, fmt.Errorf("mappings of process %d: %w", pid, err)
	}
	var libs []Library
	for _, f := range files {
		libs = append(libs, Library{Path: f.path, file: f})
	}
	return libs, nil
}

// choose leaves the copies of libcudart that torch links, as far as that can be
// told. needed and soname look into files, so they are asked only where there are
// several.
func choose(libs []Library, needed func() []string, soname func(Library) string) {
	var copies []*Library
	for i := range libs {
		if libs[i].Kind == Runtime {
			copies = append(copies, &libs[i])
		}
	}
	// The packages' own copies first: they have the SONAME of the one in use.
	copies = narrow(copies, "another package's own copy", func(l *Library) bool { return !bundled(l.Path) })
	if len(copies) > 1 {
		names := needed()
		copies = narrow(copies, "not the one that torch links", func(l *Library) bool {
			own := soname(*l)
			for _, n := range names {
				if n == own || n == path.Base(l.Path) {
					return true
				}
			}
			return false
		})
	}
	narrow(copies, "another copy is in NVIDIA's package", func(l *Library) bool { return strings.Contains(l.Path, "/nvidia/") })
}

// narrow skips what does not fit, unless nothing does.
func narrow(copies []*Library, why string, fits func(*Library) bool) []*Library {
	var left, out []*Library
	for _, l := range copies {
		if fits(l) {
			left = append(left, l)
		} else {
			out = append(out, l)
		}
	}
	if len(left) == 0 {
		return copies
	}
	for _, l := range out {
		l.Skipped = why
	}
	return left
}

// bundled says whether a file is one that auditwheel put into a package:
// torchvision.libs/libcudart.faf08d9a.so.13.
func bundled(name string) bool { return strings.HasSuffix(path.Dir(name), ".libs") }

// needed are the names of libcudart that torch's own libraries ask for.
func needed(torch []mapped) []string {
	var names []string
	for _, f := range torch {
		names = append(names, dynamic(f, elf.DT_NEEDED)...)
	}
	return names
}

func soname(l Library) string {
	if names := dynamic(l.file, elf.DT_SONAME); len(names) > 0 {
		return names[0]
	}
	return ""
}

func dynamic(m mapped, tag elf.DynTag) []string {
	f, err := m.open()
	if err != nil {
		return nil
	}
	defer f.Close()
	e, err := readELF(f)
	if err != nil {
		return nil
	}
	names, err := e.DynString(tag)
	if err != nil {
		return nil
	}
	return names
}

// Functions are places in a library's file.
type Functions struct {
	file    *os.File
	offsets map[string][]uint64
}

// Open opens a library and finds the exported functions that are asked for.
func (l Library) Open(wanted func(name string) bool) (*Functions, error) {
	f, err := l.file.open()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", l.Path, err)
	}
	e, err := readELF(f)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", l.Path, err)
	}
	offsets, err := functionOffsets(f, e, wanted)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", l.Path, err)
	}
	return &Functions{file: f, offsets: offsets}, nil
}

// Path leads this process, and no other, to the file. Valid until Close.
func (f *Functions) Path() string { return fmt.Sprintf("/proc/self/fd/%d", f.file.Fd()) }

// Names are those of the functions that were found.
func (f *Functions) Names() []string { return slices.Sorted(maps.Keys(f.offsets)) }

// Offsets are those of a function in the file: none where there is no such
// function, several where there are several versions.
func (f *Functions) Offsets(name string) []uint64 { return f.offsets[name] }

// Close closes the file. Probes on it stay.
func (f *Functions) Close() error { return f.file.Close() }
