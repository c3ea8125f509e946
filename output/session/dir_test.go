package session

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-quicktest/qt"

	"github.com/pmtrace/pmtrace/output/journal"
)

var (
	me   = Owner{os.Geteuid(), os.Getegid()}
	noon = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
)

// The journal's files are made by the session's directory.
var _ journal.Directory = (*Dir)(nil)

func TestPlace(t *testing.T) {
	env := map[string]string{}
	getenv := func(name string) string { return env[name] }
	qt.Check(t, qt.Equals(Place("", getenv), "/tmp/vllm_profiling"))
	env["VLLM_PROFILING_DIR"] = "/a"
	qt.Check(t, qt.Equals(Place("", getenv), "/a"))
	env["PMTRACE_OUTPUT_DIR"] = "/b"
	qt.Check(t, qt.Equals(Place("", getenv), "/b"))
	qt.Check(t, qt.Equals(Place("/c", getenv), "/c"))
}

func TestInvoker(t *testing.T) {
	env := map[string]string{"SUDO_UID": "1234", "SUDO_GID": "1235"}
	owner := Invoker(func(name string) string { return env[name] })
	if os.Geteuid() == 0 {
		qt.Check(t, qt.Equals(owner, Owner{1234, 1235}))
	} else {
		qt.Check(t, qt.Equals(owner, me))
	}
	env["SUDO_UID"] = "-1"
	qt.Check(t, qt.Equals(Invoker(func(name string) string { return env[name] }), me))
}

func TestSessionsHaveNamesOfTheirOwn(t *testing.T) {
	place := filepath.Join(t.TempDir(), "made", "on the way")
	for _, name := range []string{"session_20260701_120000", "session_20260701_120000_2", "session_20260701_120000_3"} {
		d, err := Create(place, noon, me)
		qt.Assert(t, qt.IsNil(err))
		qt.Check(t, qt.Equals(d.Name(), name))
		qt.Check(t, qt.Equals(d.Path(), filepath.Join(place, name)))
		info, err := os.Stat(d.Path())
		qt.Assert(t, qt.IsNil(err))
		qt.Check(t, qt.Equals(info.Mode().Perm(), 0o700))
		qt.Assert(t, qt.IsNil(d.Close()))
	}
}

func TestFilesAreNewAndPrivate(t *testing.T) {
	d, err := Create(t.TempDir(), noon, me)
	qt.Assert(t, qt.IsNil(err))
	defer d.Close()
	f, err := d.Create("file")
	qt.Assert(t, qt.IsNil(err))
	f.Close()
	info, err := os.Stat(filepath.Join(d.Path(), "file"))
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(info.Mode().Perm(), 0o600))
	_, err = d.Create("file")
	qt.Check(t, qt.ErrorIs(err, fs.ErrExist))

	victim := filepath.Join(t.TempDir(), "victim")
	qt.Assert(t, qt.IsNil(os.Symlink(victim, filepath.Join(d.Path(), "link"))))
	_, err = d.Create("link")
	qt.Check(t, qt.IsNotNil(err))
	_, err = os.Stat(victim)
	qt.Check(t, qt.ErrorIs(err, fs.ErrNotExist))

	outside := t.TempDir()
	qt.Assert(t, qt.IsNil(os.Symlink(outside, filepath.Join(d.Path(), "parquet"))))
	_, err = d.Sub("parquet")
	qt.Check(t, qt.IsNotNil(err))
}

func TestReplace(t *testing.T) {
	d, err := Create(t.TempDir(), noon, me)
	qt.Assert(t, qt.IsNil(err))
	defer d.Close()
	put := func(text string, fail error) error {
		return d.Replace("file", func(w io.Writer) error {
			io.WriteString(w, text)
			return fail
		})
	}
	qt.Assert(t, qt.IsNil(put("one", nil)))
	qt.Assert(t, qt.IsNil(put("two", nil)))
	qt.Check(t, qt.IsNotNil(put("three", errors.New("no"))))
	b, err := fs.ReadFile(d.FS(), "file")
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(string(b), "two"))
	entries, err := fs.ReadDir(d.FS(), ".")
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.HasLen(entries, 1))
}

// open is a directory open to everybody, as /tmp is.
func open(t *testing.T) string {
	tmp := t.TempDir()
	qt.Assert(t, qt.IsNil(os.Chmod(tmp, 0o777|os.ModeSticky)))
	return tmp
}

func TestLinkInSharedDirectoryIsRefused(t *testing.T) {
	tmp, target := open(t), t.TempDir()
	place := filepath.Join(tmp, "vllm_profiling")
	qt.Assert(t, qt.IsNil(os.Symlink(target, place)))
	_, err := Create(place, noon, me)
	var derr *DirError
	qt.Assert(t, qt.ErrorAs(err, &derr))
	qt.Check(t, qt.Equals(err.Error(), "cannot write to "+place+": "+place+" is a link in a directory open to everybody; remove it, or choose another directory with --output-dir"))
	_, err = Create(filepath.Join(place, "deeper"), noon, me)
	qt.Check(t, qt.IsNotNil(err))
	entries, _ := os.ReadDir(target)
	qt.Check(t, qt.HasLen(entries, 0))
	// Where only the user makes names, a link is the user's wish.
	private := filepath.Join(t.TempDir(), "link")
	qt.Assert(t, qt.IsNil(os.Symlink(target, private)))
	d, err := Create(private, noon, me)
	qt.Assert(t, qt.IsNil(err))
	d.Close()
}

func TestDirectoryOfSomebodyElseIsRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to give a directory away")
	}
	place := filepath.Join(open(t), "vllm_profiling")
	qt.Assert(t, qt.IsNil(os.Mkdir(place, 0o700)))
	qt.Assert(t, qt.IsNil(os.Chown(place, 4321, 4321)))
	_, err := Create(place, noon, me)
	qt.Check(t, qt.ErrorMatches(err, "cannot write to .*: .* belongs to another user .uid 4321.; choose another .*"))
	// It is the one's who asked through sudo.
	d, err := Create(place, noon, Owner{4321, 4321})
	qt.Assert(t, qt.IsNil(err))
	defer d.Close()
	f, err := d.Create("file")
	qt.Assert(t, qt.IsNil(err))
	defer f.Close()
	info, err := f.Stat()
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(ownerOf(info), Owner{4321, 4321}))
	info, err = os.Stat(d.Path())
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(ownerOf(info), Owner{4321, 4321}))
	again, err := Open(d.Path())
	qt.Assert(t, qt.IsNil(err))
	defer again.Close()
	qt.Check(t, qt.Equals(again.owner, Owner{4321, 4321}))
}

func TestNotWritable(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	qt.Assert(t, qt.IsNil(os.WriteFile(file, nil, 0o600)))
	_, err := Create(filepath.Join(file, "x"), noon, me)
	qt.Check(t, qt.ErrorMatches(err, "cannot write to .*/file/x: .*/file is not a directory; choose another directory with --output-dir"))
	_, err = Create("/proc/self", noon, me)
	qt.Check(t, qt.ErrorMatches(err, "cannot write to /proc/self: .*; choose another directory with --output-dir"))
	_, err = Open(filepath.Join(t.TempDir(), "none"))
	qt.Check(t, qt.ErrorMatches(err, "open session .*/none: no such file or directory"))
}
