package target

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-quicktest/qt"
)

// fakeProc is a procfs made of files.
type fakeProc struct {
	t   *testing.T
	dir string
}

func newFakeProc(t *testing.T) *fakeProc {
	p := &fakeProc{t, t.TempDir()}
	for _, ns := range []string{"pid", "mnt", "user"} {
		p.link("self", "ns/"+ns, ns+":[1]")
	}
	return p
}

func (p *fakeProc) proc() Proc { return Proc{Root: p.dir} }

func (p *fakeProc) file(pid, name, content string) {
	path := filepath.Join(p.dir, pid, name)
	qt.Assert(p.t, qt.IsNil(os.MkdirAll(filepath.Dir(path), 0o755)))
	qt.Assert(p.t, qt.IsNil(os.WriteFile(path, []byte(content), 0o644)))
}

func (p *fakeProc) link(pid, name, to string) {
	path := filepath.Join(p.dir, pid, name)
	qt.Assert(p.t, qt.IsNil(os.MkdirAll(filepath.Dir(path), 0o755)))
	qt.Assert(p.t, qt.IsNil(os.Symlink(to, path)))
}

// add makes a process; a title is what setproctitle leaves of a command.
func (p *fakeProc) add(pid, ppid int, exe string, argv ...string) {
	id := fmt.Sprint(pid)
	comm := base(argv[0])
	if strings.Contains(argv[0], "::") {
		comm = argv[0]
	}
	p.file(id, "stat", fmt.Sprintf("%d (%s) S %d 1 1 0 -1 4194304 0 0 0 0 0 0 0 0 20 0 1 0 %d 0 0", pid, comm[:min(15, len(comm))], ppid, 1000+pid))
	p.file(id, "status", fmt.Sprintf("Name:\tx\nTgid:\t%d\nUid:\t1000\t1000\t1000\t1000\nNSpid:\t%d\n", pid, pid))
	p.file(id, "cmdline", strings.Join(argv, "\x00")+"\x00\x00\x00")
	p.file(id, "cgroup", "0::/user.slice\n")
	p.file(id, "maps", "")
	p.link(id, "exe", exe)
	for _, ns := range []string{"pid", "mnt", "user"} {
		p.link(id, "ns/"+ns, ns+":[1]")
	}
}

const (
	pyExe    = "/usr/bin/python3.12"
	pyVenv   = "/opt/venv/bin/python"
	vllmTool = "/opt/venv/bin/vllm"
)

// serve makes a server of TP=2, as vLLM since 0.10.2 makes it.
func (p *fakeProc) serve(root, ppid int, prefix string) {
	p.add(root, ppid, pyExe, pyVenv, vllmTool, "serve", "org/model", "--port", "9000", "--api-key", "sesame")
	p.add(root+1, root, pyExe, pyVenv, "-c", "from multiprocessing.resource_tracker import main;main(7)")
	p.add(root+2, root, pyExe, prefix+"::EngineCore")
	p.add(root+3, root+2, pyExe, prefix+"::Worker_TP1")
	p.add(root+4, root+2, pyExe, prefix+"::Worker_TP0")
}
