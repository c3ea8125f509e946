package target

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-quicktest/qt"
	"golang.org/x/sys/unix"
)

const (
	site      = "/opt/venv/lib/python3.12/site-packages"
	versionPy = site + "/vllm/_version.py"
)

// What a process's links and special files lead to.
func TestVersionsInside(t *testing.T) {
	outside := t.TempDir()
	secret := filepath.Join(outside, "_version.py")
	qt.Assert(t, qt.IsNil(os.WriteFile(secret, []byte("__version__ = 'ours'\n"), 0o644)))
	for _, c := range []struct {
		name string
		make func(root string) error
		want string
	}{
		{"absolute link within the root", func(root string) error {
			if err := os.WriteFile(root+"/v.py", []byte("__version__ = '0.33.0'\n"), 0o644); err != nil {
				return err
			}
			return os.Symlink("/v.py", root+versionPy)
		}, "0.33.0"},
		{"link to a file of ours", func(root string) error { return os.Symlink(secret, root+versionPy) }, ""},
		{"link up and out", func(root string) error {
			return os.Symlink("../../../../../../../../../../../../../../.."+secret, root+versionPy)
		}, ""},
		{"FIFO", func(root string) error { return unix.Mkfifo(root+versionPy, 0o644) }, ""},
		{"FIFO for a directory", func(root string) error {
			if err := os.RemoveAll(root + site); err != nil {
				return err
			}
			return unix.Mkfifo(root+site, 0o644)
		}, ""},
		{"directory for a file", func(root string) error { return os.Mkdir(root+versionPy, 0o755) }, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newFakeProc(t)
			p.add(100, 1, "/opt/venv/bin/python3", pyVenv, vllmTool, "serve", "m")
			p.file("100", "maps", "7f-8f r-xp 0 8:1 5  "+site+"/torch/lib/libtorch.so\n")
			root := filepath.Join(p.dir, "100", "root")
			qt.Assert(t, qt.IsNil(os.MkdirAll(filepath.Dir(root+versionPy), 0o755)))
			qt.Assert(t, qt.IsNil(c.make(root)))
			got := make(chan Versions, 1)
			go func() { got <- p.proc().Versions(100) }()
			select {
			case v := <-got:
				qt.Assert(t, qt.Equals(v.VLLM, c.want))
			case <-time.After(10 * time.Second):
				t.Fatal("it waits for the process's file")
			}
		})
	}
}
