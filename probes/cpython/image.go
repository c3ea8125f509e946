package cpython

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Image is the ELF file that holds the interpreter, as mapped.
type Image struct {
	Path string
	// Bias is added to the file's addresses to get those in the process.
	Bias uint64
	// RuntimeAddr is _PyRuntime, VersionAddr Py_Version, NoneAddr
	// _Py_NoneStruct, as addresses in the process. 0: no such symbol.
	RuntimeAddr, VersionAddr, NoneAddr uint64
	// EvalLoop is _PyEval_EvalFrameDefault. Zero: no such symbol.
	EvalLoop Range
	// Writable are the file's writable mappings, for the scan of 3.13+.
	Writable []Range
}

// Range is a half-open range of addresses.
type Range struct{ Start, End uint64 }

// Contains reports whether addr is in the range.
func (r Range) Contains(addr uint64) bool { return addr >= r.Start && addr < r.End }

// findImage looks through the files that pid has mapped for the one that
// defines _PyRuntime: libpython first, then the executable, then anything with
// python in its name.
func findImage(pid int) (Image, error) {
	maps, err := readMaps(pid)
	if err != nil {
		return Image{}, err
	}
	exe, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	exe = strings.TrimSuffix(exe, " (deleted)")
	var firstErr error
	var fallback *Image
	for _, path := range candidates(maps, exe) {
		img, err := openImage(pid, maps, path)
		if err != nil {
			if firstErr == nil {
				firstErr = fmt.Errorf("%s: %w", path, err)
			}
			continue
		}
		if img.RuntimeAddr != 0 {
			return img, nil
		}
		if _, _, ok := versionFromPath(path); ok && fallback == nil {
			fallback = &img // stripped: its data can be scanned for the cookie
		}
	}
	if fallback != nil {
		return *fallback, nil
	}
	err = &Error{Reason: NotFound, Op: "interpreter", Detail: fmt.Sprintf("no mapped file of pid %d defines _PyRuntime", pid)}
	return Image{}, errors.Join(err, firstErr)
}

// candidates orders the mapped paths that may hold the interpreter.
func candidates(maps []Mapping, exe string) []string {
	var lib, other []string
	seen := map[string]bool{exe: true}
	for _, m := range maps {
		if seen[m.Path] || !strings.HasPrefix(m.Path, "/") {
			continue
		}
		seen[m.Path] = true
		base := m.Path[strings.LastIndexByte(m.Path, '/')+1:]
		switch {
		case strings.HasPrefix(base, "libpython"):
			lib = append(lib, m.Path)
		case strings.Contains(base, "python"):
			other = append(other, m.Path)
		}
	}
	if exe != "" {
		lib = append(lib, exe)
	}
	return append(lib, other...)
}

// openImage reads path's symbols and finds where it is mapped.
func openImage(pid int, maps []Mapping, path string) (Image, error) {
	var mine []Mapping
	for _, m := range maps {
		if m.Path == path {
			mine = append(mine, m)
		}
	}
	if len(mine) == 0 {
		return Image{}, errors.New("not mapped")
	}
	f, err := openMapped(pid, mine[0])
	if err != nil {
		return Image{}, err
	}
	defer f.Close()
	file, err := elf.NewFile(f)
	if err != nil {
		return Image{}, err
	}
	img := Image{Path: path}
	if img.Bias, err = loadBias(file, mine); err != nil {
		return Image{}, err
	}
	for _, m := range mine {
		if strings.HasPrefix(m.Perms, "rw") {
			img.Writable = append(img.Writable, Range{m.Start, m.End})
		}
	}
	img.readSymbols(file)
	return img, nil
}

// openMapped opens the very file that is mapped: by its path inside the
// process's root if that still is the same inode, else through map_files, which
// also reaches deleted files but needs more rights.
func openMapped(pid int, m Mapping) (*os.File, error) {
	f, err := openInRoot(pid, m.Path)
	if err == nil {
		// Overlay file systems may show another inode number in maps.
		if st, serr := f.Stat(); serr == nil && !m.Deleted && sameInode(st, m.Inode) {
			return f, nil
		}
	}
	mapped, merr := os.Open(fmt.Sprintf("/proc/%d/map_files/%x-%x", pid, m.Start, m.End))
	if merr == nil {
		if err == nil {
			f.Close()
		}
		return mapped, nil
	}
	if err == nil && !m.Deleted {
		return f, nil
	}
	if err == nil {
		f.Close()
	}
	return nil, errors.Join(err, merr)
}

// openInRoot opens a plain file below a process's root, and nothing that the
// process may have put in its place: links lead no further than the root, and a
// FIFO, which one waits for, or a device is not opened.
func openInRoot(pid int, path string) (*os.File, error) {
	root, err := unix.Open(fmt.Sprintf("/proc/%d/root", pid), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(root)
	found, err := unix.Openat2(root, path, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return nil, err
	}
	defer unix.Close(found)
	var st unix.Stat_t
	if err := unix.Fstat(found, &st); err != nil {
		return nil, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, fmt.Errorf("%s is no plain file", path)
	}
	return os.Open(fmt.Sprintf("/proc/self/fd/%d", found))
}

func sameInode(st os.FileInfo, inode uint64) bool {
	sys, ok := st.Sys().(*syscall.Stat_t)
	return ok && sys.Ino == inode
}

// loadBias matches a mapping with the segment at its file offset. It is 0 for
// a fixed-address executable.
func loadBias(file *elf.File, maps []Mapping) (uint64, error) {
	for _, m := range maps {
		for _, p := range file.Progs {
			if p.Type == elf.PT_LOAD && p.Off&^(pageSize-1) == m.Offset {
				return m.Start - p.Vaddr&^(pageSize-1), nil
			}
		}
	}
	return 0, errors.New("no mapping matches a segment")
}

// readSymbols takes .dynsym first: .symtab is larger and often stripped.
func (img *Image) readSymbols(file *elf.File) {
	if syms, err := file.DynamicSymbols(); err == nil {
		img.takeSymbols(syms)
	}
	if img.RuntimeAddr == 0 || img.EvalLoop == (Range{}) {
		if syms, err := file.Symbols(); err == nil {
			img.takeSymbols(syms)
		}
	}
	if s := file.Section(".PyRuntime"); img.RuntimeAddr == 0 && s != nil {
		img.RuntimeAddr = s.Addr + img.Bias
	}
}

func (img *Image) takeSymbols(syms []elf.Symbol) {
	for _, s := range syms {
		if s.Section == elf.SHN_UNDEF || s.Value == 0 {
			continue
		}
		addr := s.Value + img.Bias
		switch s.Name {
		case "_PyRuntime":
			img.RuntimeAddr = addr
		case "Py_Version":
			img.VersionAddr = addr
		case "_Py_NoneStruct":
			img.NoneAddr = addr
		case "_PyEval_EvalFrameDefault":
			img.EvalLoop = Range{addr, addr + s.Size}
		}
	}
}
