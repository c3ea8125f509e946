//go:build cgo

package sampler

import (
	"errors"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/go-quicktest/qt"
)

// place is a process's folder in /proc with a root of its own.
type place struct {
	*testing.T
	proc string
}

func newPlace(t *testing.T) place {
	p := place{t, t.TempDir()}
	qt.Assert(t, qt.IsNil(os.MkdirAll(filepath.Join(p.proc, "root"), 0o755)))
	qt.Assert(t, qt.IsNil(os.MkdirAll(filepath.Join(p.proc, "ns"), 0o755)))
	p.namespace("mnt:[1]")
	return p
}

func (p place) namespace(name string) {
	file := filepath.Join(p.proc, "ns/mnt")
	_ = os.Remove(file)
	qt.Assert(p, qt.IsNil(os.Symlink(name, file)))
}

func (p place) maps(files ...string) {
	text := "7f00-7f01 r-xp 00000000 00:00 0 [vdso]\n7f02-7f03 rw-p 00000000 00:00 0\n"
	for _, f := range files {
		text += "7fa22a600000-7fa22a7e5000 r-xp 00028000 08:01 1234                       " + f + "\n"
	}
	qt.Assert(p, qt.IsNil(os.WriteFile(filepath.Join(p.proc, "maps"), []byte(text), 0o644)))
}

func (p place) file(name string, content []byte) string {
	at := filepath.Join(p.proc, "root", name)
	qt.Assert(p, qt.IsNil(os.MkdirAll(filepath.Dir(at), 0o755)))
	qt.Assert(p, qt.IsNil(os.WriteFile(at, content, 0o755)))
	return at
}

// find looks on a machine whose own mount namespace is mnt:[1].
func (p place) find() (*Library, error) {
	self := newSelf(p)
	return finder{proc: p.proc, self: self}.find()
}

func newSelf(p place) string {
	self := p.TempDir()
	qt.Assert(p, qt.IsNil(os.MkdirAll(filepath.Join(self, "ns"), 0o755)))
	qt.Assert(p, qt.IsNil(os.Symlink("mnt:[1]", filepath.Join(self, "ns/mnt"))))
	return self
}

const site = "/venv/lib/python3.12/site-packages/"

func TestFind(t *testing.T) {
	real, err := os.ReadFile(fakeLibrary(t))
	qt.Assert(t, qt.IsNil(err))
	for _, c := range []struct {
		name   string
		mapped string
		at     string
	}{
		{"beside libcupti", site + "nvidia/cuda_cupti/lib/libcupti.so.12", site + "nvidia/cuda_cupti/lib/"},
		{"one folder for all", site + "nvidia/cu13/lib/libcudart.so.13", site + "nvidia/cu13/lib/"},
		{"a package of its own", site + "nvidia/cuda_runtime/lib/libcudart.so.12", site + "nvidia/cuda_cupti/lib/"},
		{"torch", site + "torch/lib/libtorch_cuda.so", site + "nvidia/cu13/lib/"},
		{"torch's copy", site + "torchvision.libs/libcudart.0a1b.so.13", site + "nvidia/cu13/lib/"},
		{"a toolkit", "/usr/local/cuda-13.0/lib64/libcudart.so.13", "/usr/local/cuda-13.0/extras/CUPTI/lib64/"},
		{"nothing mapped", "/usr/bin/python3", "/usr/local/cuda/extras/CUPTI/lib64/"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPlace(t)
			p.maps("/usr/bin/python3", c.mapped)
			p.file(path.Dir(c.mapped)+"/x", nil)
			p.file(c.at+libraryName, real)
			lib, err := p.find()
			qt.Assert(t, qt.IsNil(err))
			defer lib.File.Close()
			qt.Check(t, qt.Equals(lib.Path, c.at+libraryName))
		})
	}
}

func TestFindNothing(t *testing.T) {
	p := newPlace(t)
	p.maps(site + "nvidia/cu13/lib/libcudart.so.13")
	_, err := p.find()
	qt.Check(t, qt.ErrorMatches(err, ".*no library: libnvperf_host.so: there is none.*"))

	_, err = finder{proc: filepath.Join(t.TempDir(), "gone")}.find()
	qt.Check(t, qt.ErrorMatches(err, ".*no library:.*no such file.*"))
}

// What is there and of no use is named, and the next one taken.
func TestFindPassesOver(t *testing.T) {
	real, err := os.ReadFile(fakeLibrary(t))
	qt.Assert(t, qt.IsNil(err))
	stub := filepath.Join(t.TempDir(), "stub.so")
	cc := exec.Command("gcc", "-shared", "-fPIC", "-x", "c", "-o", stub, "/dev/null")
	qt.Assert(t, qt.IsNil(cc.Run()))
	nothing, err := os.ReadFile(stub)
	qt.Assert(t, qt.IsNil(err))

	p := newPlace(t)
	p.maps(site + "nvidia/cu13/lib/libcupti.so.13")
	p.file(site+"nvidia/cu13/lib/"+libraryName, nothing)
	p.file(site+"nvidia/a/lib/"+libraryName, []byte("no library of any kind"))
	qt.Assert(t, qt.IsNil(os.MkdirAll(filepath.Join(p.proc, "root", site, "nvidia/b/lib"), 0o755)))
	qt.Assert(t, qt.IsNil(syscall.Mkfifo(filepath.Join(p.proc, "root", site, "nvidia/b/lib", libraryName), 0o644)))
	_, err = p.find()
	qt.Check(t, qt.ErrorMatches(err, `(?s).*cu13/lib/libnvperf_host.so: a stub or an old version: it lacks 30 of 30 functions.*a/lib/libnvperf_host.so: bad magic.*b/lib/libnvperf_host.so: no file of a library.*`))

	p.file(site+"nvidia/cuda_cupti/lib/"+libraryName, real)
	lib, err := p.find()
	qt.Assert(t, qt.IsNil(err))
	defer lib.File.Close()
	qt.Check(t, qt.Equals(lib.Path, site+"nvidia/cuda_cupti/lib/"+libraryName))
}

// Only a file that root alone writes, of this machine, is loaded with our rights.
func TestTrust(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: to give files away")
	}
	real, err := os.ReadFile(fakeLibrary(t))
	qt.Assert(t, qt.IsNil(err))
	for _, c := range []struct {
		name     string
		change   func(p place, file string) error
		trusted  bool
		uid, gid int
	}{
		{"root's", func(place, string) error { return nil }, true, 0, 0},
		{"writable", func(_ place, f string) error { return os.Chmod(f, 0o775) }, false, nobody, nobody},
		{"a user's", func(_ place, f string) error { return os.Chown(f, 1234, 1234) }, false, nobody, nobody},
		{"a user's process", func(p place, f string) error {
			return errors.Join(os.Chown(f, 1234, 1234), os.Chown(p.proc, 1234, 2345))
		}, false, 1234, 2345},
		{"a container's", func(p place, _ string) error { p.namespace("mnt:[2]"); return nil }, false, nobody, nobody},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPlace(t)
			p.maps(site + "nvidia/cu13/lib/libcupti.so.13")
			qt.Assert(t, qt.IsNil(c.change(p, p.file(site+"nvidia/cu13/lib/"+libraryName, real))))
			lib, err := p.find()
			qt.Assert(t, qt.IsNil(err))
			defer lib.File.Close()
			qt.Check(t, qt.Equals(lib.Trusted, c.trusted))
			qt.Check(t, qt.Equals(lib.UID, c.uid))
			qt.Check(t, qt.Equals(lib.GID, c.gid))
		})
	}
}
