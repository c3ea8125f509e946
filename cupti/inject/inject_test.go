package inject

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-quicktest/qt"
)

// TestUpToDate: the committed library is of these sources.
func TestUpToDate(t *testing.T) {
	h := sha256.New()
	list := []string{}
	for _, pattern := range []string{"c/*.c", "c/*.h"} {
		files, err := filepath.Glob(pattern)
		qt.Assert(t, qt.IsNil(err))
		slices.Sort(files)
		list = append(list, files...)
	}
	for _, name := range append(list, "../../bpf/cupti.h", "../../bpf/event.h", "build.sh") {
		b, err := os.ReadFile(name)
		qt.Assert(t, qt.IsNil(err))
		h.Write(b)
	}
	want := fmt.Sprintf("libpmtrace_cupti sources %x", h.Sum(nil))
	qt.Assert(t, qt.IsTrue(bytes.Contains(library, []byte(want))), qt.Commentf("cupti/inject/build.sh makes it again"))
}

// TestLoadsAnywhere: no glibc newer than 2.17 is needed, and no library that a process
// does not have.
func TestLoadsAnywhere(t *testing.T) {
	f, err := elf.NewFile(bytes.NewReader(library))
	qt.Assert(t, qt.IsNil(err))
	needed, err := f.ImportedLibraries()
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.DeepEquals(needed, []string{"libc.so.6", "ld-linux-x86-64.so.2"}))
	symbols, err := f.ImportedSymbols()
	qt.Assert(t, qt.IsNil(err))
	for _, s := range symbols {
		version, ok := strings.CutPrefix(s.Version, "GLIBC_2.")
		if !ok {
			continue
		}
		minor, err := strconv.Atoi(strings.Split(version, ".")[0])
		qt.Assert(t, qt.IsNil(err))
		qt.Check(t, qt.IsTrue(minor <= 17), qt.Commentf("%s needs %s", s.Name, s.Version))
	}
	exported, err := f.DynamicSymbols()
	qt.Assert(t, qt.IsNil(err))
	for _, s := range exported {
		if s.Section != elf.SHN_UNDEF {
			qt.Check(t, qt.Equals(s.Name, "InitializeInjection"))
		}
	}
}

func TestPlaces(t *testing.T) {
	good := t.TempDir()
	closed := filepath.Join(t.TempDir(), "closed")
	qt.Assert(t, qt.IsNil(os.Mkdir(closed, 0o700)))
	i, err := New(Options{Candidates: []string{"/nonexistent", "/proc", good}, UID: os.Geteuid(), GID: os.Getegid()})
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.Equals(filepath.Dir(i.Dir), good))
	st, err := os.Stat(i.Library())
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.Equals(st.Mode().Perm(), 0o555))
	st, err = os.Stat(i.Dir)
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.Equals(st.Mode().Perm(), 0o700))
	qt.Assert(t, qt.IsNil(i.Remove()))

	// A user who is not the owner may not pass a closed directory.
	qt.Assert(t, qt.ErrorIs(usable(closed, os.Geteuid()+1, os.Getegid()+1), errNoAccess))
	qt.Assert(t, qt.IsNil(usable("/", os.Geteuid()+1, os.Getegid()+1)))
	_, err = New(Options{Candidates: []string{"/nonexistent"}, UID: os.Geteuid(), GID: os.Getegid()})
	var not *NotPossible
	qt.Assert(t, qt.ErrorAs(err, &not))
	qt.Assert(t, qt.StringContains(not.Error(), "/nonexistent: no such file or directory"))
	if os.Geteuid() == 0 {
		i, err = New(Options{Candidates: []string{"/tmp"}, UID: 12345, GID: 12345})
		qt.Assert(t, qt.IsNil(err))
		defer i.Remove()
		st, err = os.Stat(i.Dir)
		qt.Assert(t, qt.IsNil(err))
		qt.Assert(t, qt.StringContains(fmt.Sprintf("%+v", st.Sys()), "Uid:12345"))
	}
}

func TestKernels(t *testing.T) {
	for want, k := range map[string]Kernels{
		"off": {}, "always": {time.Second, time.Second}, "1000000000/60000000000": {time.Second, time.Minute},
	} {
		qt.Assert(t, qt.Equals(k.String(), want))
	}
}

// TestPTXUpToDate: what the GPU runs is of these sources; ptx.sh makes it again.
func TestPTXUpToDate(t *testing.T) {
	h := sha256.New()
	for _, name := range []string{"cuda/choices.cu", "c/choices.h", "ptx.sh"} {
		b, err := os.ReadFile(name)
		qt.Assert(t, qt.IsNil(err))
		h.Write(b)
	}
	header, err := os.ReadFile("c/choices_ptx.h")
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.IsTrue(bytes.Contains(header, fmt.Appendf(nil, "/* sources %x */", h.Sum(nil)))))
}
