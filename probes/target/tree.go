package target

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// entry is what a look at the whole of /proc keeps of a process.
type entry struct {
	pid   int
	stat  stat
	argv  []string
	title Title
	named bool // title is vLLM's
	args  []string
	serve bool // argv is a vLLM API server's; args follow
}

// snapshot is the process table at one moment, as far as it was readable.
type snapshot struct {
	proc     Proc
	byPID    map[int]*entry
	children map[int][]int
}

func (p Proc) snapshot() (*snapshot, error) {
	pids, err := p.pids()
	if err != nil {
		return nil, err
	}
	s := &snapshot{proc: p, byPID: map[int]*entry{}, children: map[int][]int{}}
	for _, pid := range pids {
		st, err := p.stat(pid)
		if err != nil {
			continue // gone meanwhile, or not ours to see
		}
		e := &entry{pid: pid, stat: st}
		s.byPID[pid] = e
		s.children[st.ppid] = append(s.children[st.ppid], pid)
		if e.argv, err = p.command(pid); err != nil || len(e.argv) == 0 {
			e.title, e.named = titleFromComm(st.comm)
			continue
		}
		e.title, e.named = ParseTitle(strings.TrimSpace(e.argv[0]))
		e.args, e.serve = serverArgs(e.argv)
	}
	return s, nil
}

// root goes up from a process to the root of its server; 0 where it is in none.
// A titled process's parent is in the server if it is Python, since nothing
// else makes such children; the API server itself is told by its command.
func (s *snapshot) root(pid int) int {
	root := 0
	e := s.byPID[pid]
	for range maxAncestors {
		if e == nil {
			break
		}
		if e.named || e.serve {
			root = e.pid
		}
		parent := s.byPID[e.stat.ppid]
		if e.named && parent != nil && !parent.named && !parent.serve && s.isPython(parent) {
			root = parent.pid
		}
		e = parent
	}
	return root
}

func (s *snapshot) isPython(e *entry) bool {
	if e.named || len(e.argv) > 0 && isPythonName(base(e.argv[0])) {
		return true
	}
	return isPythonName(base(s.proc.link(e.pid, "exe")))
}

// below lists a process and its descendants, the process first.
func (s *snapshot) below(pid int) []int {
	seen := map[int]bool{pid: true}
	out := []int{pid}
	for i := 0; i < len(out); i++ {
		for _, c := range s.children[out[i]] {
			if !seen[c] {
				seen[c] = true
				out = append(out, c)
			}
		}
	}
	slices.Sort(out[1:])
	return out
}

// roots are the roots of all servers, in ascending order. withLibrary also
// finds Python programs that use vLLM in process, by what they have mapped.
func (s *snapshot) roots(withLibrary bool) []int {
	found := map[int]bool{}
	for pid, e := range s.byPID {
		if e.named || e.serve {
			found[s.root(pid)] = true
		}
	}
	if withLibrary {
		for pid, e := range s.byPID {
			if s.isPython(e) && s.root(pid) == 0 && !s.under(pid, found) && s.proc.mapsVLLM(pid) {
				found[pid] = true
			}
		}
	}
	var roots []int
	for pid := range found {
		if e := s.byPID[pid]; e != nil && !(s.under(e.stat.ppid, found)) {
			roots = append(roots, pid)
		}
	}
	slices.Sort(roots)
	return roots
}

// under says whether a process or one above it is in the set.
func (s *snapshot) under(pid int, set map[int]bool) bool {
	for range maxAncestors {
		if set[pid] {
			return true
		}
		e := s.byPID[pid]
		if e == nil {
			return false
		}
		pid = e.stat.ppid
	}
	return false
}

// mapsVLLM says whether a process has one of vLLM's own libraries mapped:
// …/site-packages/vllm/*.so, or vllm/_C.abi3.so of a source tree.
func (p Proc) mapsVLLM(pid int) bool {
	found := false
	p.eachMapped(pid, func(path string) bool {
		found = strings.Contains(path, "-packages/vllm/") || strings.Contains(path, "/vllm/_")
		return !found
	})
	return found
}

// eachMapped calls f with the path of each mapped file, until it says false.
func (p Proc) eachMapped(pid int, f func(path string) bool) {
	file, err := os.Open(p.path(pid, "maps"))
	if err != nil {
		return
	}
	defer file.Close()
	lines := bufio.NewScanner(io.LimitReader(file, maxMaps))
	lines.Buffer(make([]byte, 0, 8<<10), 64<<10)
	last := ""
	for lines.Scan() {
		i := strings.IndexByte(lines.Text(), '/')
		if i < 0 || lines.Text()[i:] == last {
			continue
		}
		last = lines.Text()[i:]
		if !f(last) {
			return
		}
	}
}

// List finds the vLLM servers of this machine.
func (p Proc) List() ([]Server, error) {
	s, err := p.snapshot()
	if err != nil {
		return nil, err
	}
	var out []Server
	for _, root := range s.roots(true) {
		if srv, err := s.server(root); err == nil {
			out = append(out, srv)
		}
	}
	return out, nil
}

// Resolve finds the server that a process belongs to: any process of its tree,
// or one above it that started it (a shell, a supervisor). A thread's number
// stands for its process.
func (p Proc) Resolve(pid int) (Server, error) {
	st, err := p.status(pid)
	if err != nil {
		return Server{}, err
	}
	pid = st.tgid
	if _, err := p.stat(pid); err != nil {
		return Server{}, err
	}
	s, err := p.snapshot()
	if err != nil {
		return Server{}, err
	}
	if root := s.root(pid); root != 0 {
		return s.server(root)
	}
	return s.resolveBelow(pid)
}

func (s *snapshot) resolveBelow(pid int) (Server, error) {
	tree := map[int]bool{}
	for _, d := range s.below(pid) {
		tree[d] = true
	}
	var servers []Server
	for _, root := range s.roots(true) {
		// A program that uses vLLM in process may be above pid.
		if tree[root] || s.under(pid, map[int]bool{root: true}) {
			if srv, err := s.server(root); err == nil {
				servers = append(servers, srv)
			}
		}
	}
	switch e := s.byPID[pid]; {
	case len(servers) == 1:
		return servers[0], nil
	case len(servers) > 1:
		return Server{}, &SeveralError{PID: pid, Servers: servers}
	case e == nil:
		return Server{}, fmt.Errorf("process %d: %w", pid, ErrGone)
	case !s.anyPython(pid):
		return Server{}, fmt.Errorf("process %d (%s): %w", pid, e.stat.comm, ErrNotPython)
	default:
		return Server{}, fmt.Errorf("process %d (%s): %w", pid, e.stat.comm, ErrNotVLLM)
	}
}

// anyPython says whether a process or one below it runs Python: an interpreter,
// or a program that has libpython mapped.
func (s *snapshot) anyPython(pid int) bool {
	for _, d := range s.below(pid) {
		if e := s.byPID[d]; e != nil && (s.isPython(e) || s.proc.mapsPython(d)) {
			return true
		}
	}
	return false
}

func (p Proc) mapsPython(pid int) bool {
	found := false
	p.eachMapped(pid, func(path string) bool {
		found = strings.HasPrefix(base(path), "libpython3")
		return !found
	})
	return found
}

// Tree takes a process and all below it as one server, whatever they look
// like: for a server that is still starting, and for --force.
func (p Proc) Tree(pid int) (Server, error) {
	if _, err := p.stat(pid); err != nil {
		return Server{}, err
	}
	s, err := p.snapshot()
	if err != nil {
		return Server{}, err
	}
	return s.server(pid)
}

// server reads all there is to know of the processes below root.
func (s *snapshot) server(root int) (Server, error) {
	srv := Server{Root: root}
	now := clocks()
	for _, pid := range s.below(root) {
		p, err := s.process(s.byPID[pid], now)
		if err != nil {
			if pid == root {
				return Server{}, err
			}
			continue
		}
		srv.Processes = append(srv.Processes, p)
	}
	if len(srv.Processes) == 0 {
		return Server{}, fmt.Errorf("process %d: %w", root, ErrGone)
	}
	s.describe(&srv)
	srv.number()
	return srv, nil
}

// describe settles what only the whole tree tells: model and port of the
// process that serves, which may be below a shell.
func (s *snapshot) describe(srv *Server) {
	for _, p := range srv.Processes {
		if e := s.byPID[p.PID]; e.serve {
			srv.Model, srv.Port = modelOf(e.args), portOf(e.args)
			return
		}
	}
}

func (s *snapshot) process(e *entry, now clockPair) (Process, error) {
	if e == nil {
		return Process{}, ErrGone
	}
	st, err := s.proc.status(e.pid)
	if err != nil {
		return Process{}, err
	}
	p := Process{
		PID: e.pid, PPID: e.stat.ppid, Role: RoleOther, Title: e.stat.comm,
		Command: Redact(e.argv), Python: s.isPython(e),
		Start: e.stat.start, StartNS: now.monotonic(e.stat.start),
		Exe: s.proc.link(e.pid, "exe"), UID: st.uid, NSPID: st.nspid,
		Container: s.proc.container(e.pid), helper: isHelper(e.argv),
	}
	p.OtherPIDs = st.depth > 0 || s.otherNS(e.pid, "ns/pid")
	p.OtherMounts = s.otherNS(e.pid, "ns/mnt")
	p.OtherUsers = s.otherNS(e.pid, "ns/user")
	switch {
	case e.named:
		p.Role, p.Ranks, p.Titled = e.title.Role, e.title.Ranks, true
		if len(e.argv) > 0 {
			p.Title = strings.TrimSpace(e.argv[0])
		}
	case e.serve:
		p.Role = RoleAPIServer
	}
	return p, nil
}

func (s *snapshot) otherNS(pid int, name string) bool {
	ns := s.proc.link(pid, name)
	return ns != "" && ns != s.proc.self(name)
}
