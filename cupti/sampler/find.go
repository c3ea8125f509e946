package sampler

import (
	"bufio"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

const (
	libraryName = "libnvperf_host.so"
	maxLibrary  = 256 << 20
	maxMaps     = 16 << 20
)

// Library is a libnvperf_host.so that can be used, opened.
type Library struct {
	Path string // as the process sees it
	File *os.File
	// Trusted: root's own, and nobody else can write it. Any other is loaded with
	// no more rights than the process has that it was found by.
	Trusted bool
	UID     int // whom to load it as where it is not trusted
	GID     int
}

// nobody is whom a library is loaded as that belongs to another machine's root,
// a container's.
const nobody = 65534

// Find opens the perfworks library that belongs to the CUDA of a process: beside
// the libraries that it has mapped, in the other folders of the same Python
// packages, or in a toolkit. An error is an *Error that names what was passed
// over, and why.
func Find(pid int) (*Library, error) {
	return finder{proc: fmt.Sprintf("/proc/%d", pid), self: "/proc/self"}.find()
}

// finder finds libraries of the process of a folder of /proc.
type finder struct {
	proc string
	self string // our own folder
}

func (f finder) find() (*Library, error) {
	mapped, err := f.mapped()
	if err != nil {
		return nil, &Error{NoLibrary, err.Error()}
	}
	var passed []string
	for _, p := range f.candidates(mapped) {
		lib, err := f.open(p)
		if err == nil {
			return lib, nil
		}
		if !errors.Is(err, os.ErrNotExist) {
			passed = append(passed, fmt.Sprintf("%s: %v", p, err))
		}
	}
	if len(passed) == 0 {
		passed = []string{"there is none beside the process's CUDA libraries"}
	}
	return nil, &Error{NoLibrary, libraryName + ": " + strings.Join(passed, "; ")}
}

// mapped are the folders of the CUDA libraries in the process's maps.
func (f finder) mapped() ([]string, error) {
	maps, err := os.Open(filepath.Join(f.proc, "maps"))
	if err != nil {
		return nil, err
	}
	defer maps.Close()
	var dirs []string
	lines := bufio.NewScanner(io.LimitReader(maps, maxMaps))
	for lines.Scan() {
		_, file, ok := strings.Cut(lines.Text(), "/")
		if !ok {
			continue
		}
		file = "/" + file
		base := path.Base(file)
		for _, prefix := range []string{libraryName, "libcupti", "libcudart", "libcublas.so", "libnvrtc.so", "libtorch_cuda.so"} {
			if dir := path.Dir(file); strings.HasPrefix(base, prefix) && !slices.Contains(dirs, dir) {
				dirs = append(dirs, dir)
			}
		}
	}
	return dirs, lines.Err()
}

// candidates are paths as the process sees them, best first. Packages of CUDA lie
// in site-packages/nvidia/cu13/lib or nvidia/cuda_cupti/lib; those of torch
// beside them in torch/lib.
func (f finder) candidates(dirs []string) []string {
	var out []string
	add := func(p string) {
		if p = path.Clean(p); !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	for _, dir := range dirs {
		add(path.Join(dir, libraryName))
	}
	for _, dir := range dirs {
		for _, pattern := range []string{"../../*/lib/", "../nvidia/*/lib/", "../../nvidia/*/lib/", "../extras/CUPTI/lib64/", "../../../extras/CUPTI/lib64/"} {
			for _, p := range f.glob(path.Join(dir, pattern, libraryName)) {
				add(p)
			}
		}
	}
	for _, p := range f.glob("/usr/local/cuda*/extras/CUPTI/lib64/" + libraryName) {
		add(p)
	}
	return out
}

// glob finds paths under the process's root.
func (f finder) glob(pattern string) []string {
	root := f.root()
	found, err := filepath.Glob(root + pattern)
	if err != nil {
		return nil
	}
	slices.Sort(found)
	for i, p := range found {
		found[i] = strings.TrimPrefix(p, root)
	}
	return found
}

func (f finder) root() string { return filepath.Join(f.proc, "root") }

// open checks a file and opens it. It is the process's: it can be anything.
func (f finder) open(p string) (*Library, error) {
	file, err := openRegular(f.root() + p)
	if err != nil {
		return nil, err
	}
	lib := &Library{Path: p, File: file}
	if err := checkLibrary(file); err != nil {
		file.Close()
		return nil, err
	}
	if lib.Trusted, err = f.trusted(file); err == nil && !lib.Trusted {
		lib.UID, lib.GID, err = f.owner()
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return lib, nil
}

// OpenLibrary opens a library that the user named, who answers for it.
func OpenLibrary(p string) (*Library, error) {
	file, err := openRegular(p)
	if err != nil {
		return nil, &Error{NoLibrary, err.Error()}
	}
	if err := checkLibrary(file); err != nil {
		file.Close()
		return nil, &Error{NoLibrary, p + ": " + err.Error()}
	}
	lib := &Library{Path: p, File: file, Trusted: true}
	if os.Geteuid() != 0 {
		// Our rights are our file's: more than the user has.
		lib.Trusted, err = rootOnly(file)
	}
	if err != nil {
		file.Close()
		return nil, &Error{NoLibrary, err.Error()}
	}
	return lib, nil
}

// openRegular does not wait at a pipe that lies in the file's place.
func openRegular(p string) (*os.File, error) {
	file, err := os.OpenFile(p, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil && (!info.Mode().IsRegular() || info.Size() > maxLibrary) {
		err = fmt.Errorf("no file of a library: %v, %d bytes", info.Mode(), info.Size())
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

// checkLibrary looks for the functions that are needed: some packages ship a
// version without them.
func checkLibrary(file *os.File) error {
	e, err := elf.NewFile(file)
	if err != nil {
		return err
	}
	symbols, err := e.DynamicSymbols()
	if err != nil {
		return err
	}
	has := map[string]bool{}
	for _, s := range symbols {
		if s.Section != elf.SHN_UNDEF {
			has[s.Name] = true
		}
	}
	var lacks []string
	for _, name := range neededSymbols {
		if !has[name] {
			lacks = append(lacks, name)
		}
	}
	if len(lacks) > 0 {
		return fmt.Errorf("a stub or an old version: it lacks %d of %d functions, such as %s", len(lacks), len(neededSymbols), lacks[0])
	}
	return nil
}

// trusted: only root writes it, and this machine's root, not a container's.
func (f finder) trusted(file *os.File) (bool, error) {
	ok, err := rootOnly(file)
	if err != nil || !ok {
		return false, err
	}
	theirs, err := os.Readlink(filepath.Join(f.proc, "ns/mnt"))
	if err != nil {
		return false, err
	}
	ours, err := os.Readlink(filepath.Join(f.self, "ns/mnt"))
	return theirs == ours, err
}

// rootOnly: the file is root's, and nobody else may write it.
func rootOnly(file *os.File) (bool, error) {
	info, err := file.Stat()
	if err != nil {
		return false, err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && st.Uid == 0 && info.Mode().Perm()&0o022 == 0, nil
}

// owner is whom the process runs as.
func (f finder) owner() (uid, gid int, err error) {
	info, err := os.Stat(f.proc)
	if err != nil {
		return 0, 0, err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || st.Uid == 0 {
		return nobody, nobody, nil
	}
	return int(st.Uid), int(st.Gid), nil
}
