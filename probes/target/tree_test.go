package target

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-quicktest/qt"
)

func roots(servers []Server) (out []int) {
	for _, s := range servers {
		out = append(out, s.Root)
	}
	return out
}

func TestList(t *testing.T) {
	for _, c := range []struct {
		name string
		make func(*fakeProc)
		want []int
	}{
		{"nothing", func(p *fakeProc) { p.add(1, 0, "/sbin/init", "/sbin/init") }, nil},
		{"serve", func(p *fakeProc) { p.serve(100, 1, "VLLM") }, []int{100}},
		{"other prefix", func(p *fakeProc) { p.serve(100, 1, "prod-7") }, []int{100}},
		{"two", func(p *fakeProc) { p.serve(100, 1, "VLLM"); p.serve(200, 1, "VLLM") }, []int{100, 200}},
		{"module", func(p *fakeProc) {
			p.add(5, 1, pyExe, "python3", "-u", "-m", "vllm.entrypoints.openai.api_server", "--model", "m")
		}, []int{5}},
		{"below a shell", func(p *fakeProc) {
			p.add(50, 1, "/bin/dash", "sh", "-c", "vllm serve org/model")
			p.serve(100, 50, "VLLM")
		}, []int{100}},
		{"offline, several processes", func(p *fakeProc) {
			p.add(60, 1, "/bin/bash", "-bash")
			p.add(70, 60, pyExe, "python", "batch.py")
			p.add(71, 70, pyExe, "VLLM::EngineCore")
		}, []int{70}},
		{"orphan engine", func(p *fakeProc) {
			p.add(1, 0, "/sbin/init", "/sbin/init")
			p.add(71, 1, pyExe, "VLLM::EngineCore")
		}, []int{71}},
		{"in process", func(p *fakeProc) {
			p.add(80, 1, pyExe, "python", "batch.py")
			p.file("80", "maps", "7f00-7f01 r-xp 0 08:01 1  /opt/venv/lib/python3.12/site-packages/vllm/_C.abi3.so\n")
		}, []int{80}},
		{"speaks of it only", func(p *fakeProc) {
			p.add(90, 1, "/usr/bin/grep", "grep", "vllm serve")
			p.add(91, 1, "/usr/bin/vim", "vim", "/opt/venv/bin/vllm", "serve")
			p.add(92, 1, pyExe, "python", "-c", "print('VLLM::EngineCore')")
			p.add(93, 1, pyExe, pyVenv, vllmTool, "bench")
		}, nil},
		{"data parallel with a supervisor", func(p *fakeProc) {
			p.add(100, 1, pyExe, pyVenv, vllmTool, "serve", "m", "-dp", "2")
			p.add(101, 100, pyExe, "VLLM::APIServer_DP0")
			p.add(102, 101, pyExe, "VLLM::EngineCore_DP0")
			p.add(103, 100, pyExe, "VLLM::APIServer_DP1")
			p.add(104, 103, pyExe, "VLLM::EngineCore_DP1")
		}, []int{100}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newFakeProc(t)
			c.make(p)
			servers, err := p.proc().List()
			qt.Assert(t, qt.IsNil(err))
			qt.Check(t, qt.DeepEquals(roots(servers), c.want))
		})
	}
}

func TestServer(t *testing.T) {
	p := newFakeProc(t)
	p.serve(100, 1, "VLLM")
	s, err := p.proc().Resolve(102)
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(s.Model, "org/model"))
	qt.Check(t, qt.Equals(s.Port, 9000))
	var got []string
	for _, q := range s.Processes {
		rank := "-"
		if q.Rank != nil {
			rank = fmt.Sprint(*q.Rank)
		}
		got = append(got, fmt.Sprintf("%d %s %s %v", q.PID, q.Role, rank, q.Ranks))
	}
	qt.Check(t, qt.DeepEquals(got, []string{
		"100 api_server - []", "101 other - []", "102 engine - []",
		"103 worker 1 [TP1]", "104 worker 0 [TP0]",
	}))
	qt.Check(t, qt.Equals(strings.Join(s.Process(100).Command, " "),
		"/opt/venv/bin/python /opt/venv/bin/vllm serve org/model --port 9000 --api-key ***"))
	qt.Check(t, qt.HasLen(s.Candidates(), 1))
	qt.Check(t, qt.Equals(s.Process(102).Start, uint64(1102)))
}

func TestDataParallel(t *testing.T) {
	p := newFakeProc(t)
	p.add(100, 1, pyExe, pyVenv, vllmTool, "serve", "m")
	p.add(101, 100, pyExe, "VLLM::DPCoordinator")
	for dp := range 2 {
		e := 110 + 10*dp
		p.add(e, 100, pyExe, fmt.Sprintf("VLLM::EngineCore_DP%d", dp))
		for tp := range 2 {
			p.add(e+1+tp, e, pyExe, fmt.Sprintf("VLLM::Worker_DP%d_PP0_TP%d_EP%d", dp, tp, tp))
		}
	}
	s, err := p.proc().Resolve(100)
	qt.Assert(t, qt.IsNil(err))
	for pid, want := range map[int][2]int{111: {0, 0}, 112: {0, 1}, 121: {1, 0}, 122: {1, 1}} {
		q := s.Process(pid)
		qt.Check(t, qt.DeepEquals([2]int{*q.Engine, *q.Rank}, want))
	}
	qt.Check(t, qt.Equals(*s.Process(120).Engine, 1))
	qt.Check(t, qt.IsNil(s.Process(101).Engine))
}

func TestResolve(t *testing.T) {
	p := newFakeProc(t)
	p.add(1, 0, "/sbin/init", "/sbin/init")
	p.add(50, 1, "/bin/dash", "sh", "-c", "vllm serve a & vllm serve b")
	p.serve(100, 50, "VLLM")
	p.add(60, 1, "/bin/dash", "sh", "-c", "vllm serve c")
	p.serve(200, 60, "VLLM")
	p.serve(300, 50, "VLLM")
	p.add(7, 1, pyExe, "python", "web.py")
	p.add(8, 1, "/usr/bin/sleep", "sleep", "1")
	p.file("205", "status", "Tgid:\t200\nNSpid:\t205\n") // a thread

	for pid, want := range map[int]int{100: 100, 101: 100, 102: 100, 104: 100, 60: 200, 205: 200} {
		s, err := p.proc().Resolve(pid)
		qt.Assert(t, qt.IsNil(err))
		qt.Check(t, qt.Equals(s.Root, want))
	}
	for pid, want := range map[int]error{7: ErrNotVLLM, 8: ErrNotPython, 9999: ErrGone} {
		_, err := p.proc().Resolve(pid)
		qt.Check(t, qt.ErrorIs(err, want))
	}
	_, err := p.proc().Resolve(50)
	var several *SeveralError
	qt.Assert(t, qt.IsTrue(errors.As(err, &several)))
	qt.Check(t, qt.DeepEquals(roots(several.Servers), []int{100, 300}))
}

// Old versions have no titles: every Python process but the resource tracker
// may hold the engine.
func TestCandidatesUntitled(t *testing.T) {
	p := newFakeProc(t)
	p.add(100, 1, pyExe, pyVenv, vllmTool, "serve", "m")
	p.add(101, 100, pyExe, pyVenv, "-c", "from multiprocessing.resource_tracker import main;main(7)")
	p.add(102, 100, pyExe, pyVenv, "-c", "from multiprocessing.spawn import spawn_main; spawn_main(7)", "--multiprocessing-fork")
	p.add(103, 100, "/usr/bin/cc", "cc", "x.c")
	s, err := p.proc().Resolve(102)
	qt.Assert(t, qt.IsNil(err))
	var pids []int
	for _, c := range s.Candidates() {
		pids = append(pids, c.PID)
	}
	qt.Check(t, qt.DeepEquals(pids, []int{100, 102}))
}

func TestNamespaces(t *testing.T) {
	p := newFakeProc(t)
	p.serve(100, 1, "VLLM")
	id := strings.Repeat("ab", 32)
	p.file("102", "cgroup", "12:memory:/docker/"+id+"\n0::/system.slice/docker-"+id+".scope\n")
	p.file("102", "status", "Tgid:\t102\nUid:\t0\t0\t0\t0\nNSpid:\t102\t17\n")
	for _, ns := range []string{"pid", "mnt"} {
		name := filepath.Join(p.dir, "102", "ns", ns)
		qt.Assert(t, qt.IsNil(os.Remove(name)))
		qt.Assert(t, qt.IsNil(os.Symlink(ns+":[2]", name)))
	}
	s, err := p.proc().Resolve(100)
	qt.Assert(t, qt.IsNil(err))
	e := s.Process(102)
	qt.Check(t, qt.Equals(e.Container, id))
	qt.Check(t, qt.Equals(e.NSPID, 17))
	qt.Check(t, qt.IsTrue(e.OtherPIDs && e.OtherMounts && !e.OtherUsers))
}

// A process may name itself anything and its parent may be itself.
func TestHostile(t *testing.T) {
	p := newFakeProc(t)
	p.serve(100, 1, "VLLM")
	p.add(500, 501, pyExe, "VLLM::EngineCore") // a circle of parents
	p.add(501, 500, pyExe, "VLLM::EngineCore")
	p.file("502", "stat", "502 (x")
	p.file("503", "stat", "503 ("+strings.Repeat(")", 100)+" S")
	p.file("504", "stat", "")
	p.add(505, 1, pyExe, strings.Repeat("A", 1<<19)+"::EngineCore")
	p.add(506, 1, pyExe, "VLLM::EngineCore_DP99999999999999999999")
	servers, err := p.proc().List()
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.SliceContains(roots(servers), 100))
	_, err = p.proc().Resolve(500)
	qt.Check(t, qt.IsTrue(err == nil || !errors.Is(err, ErrMalformed)))
}
