package target

import (
	"cmp"
	"slices"
)

// Server is one vLLM server: its root process and all processes below it.
type Server struct {
	Root      int       `json:"root_pid"`
	Processes []Process `json:"processes"` // the root first, then by PID
	Model     string    `json:"model,omitempty"`
	Port      int       `json:"port,omitempty"` // 0: not an API server
}

// Process is a process of a server.
type Process struct {
	PID     int      `json:"pid"`
	PPID    int      `json:"ppid"`
	Role    Role     `json:"role"`
	Engine  *int     `json:"engine,omitempty"` // data-parallel rank
	Rank    *int     `json:"rank,omitempty"`   // worker's number in its engine
	Ranks   []Rank   `json:"ranks,omitempty"`  // as the title says
	Title   string   `json:"title"`            // title, or comm where there is none
	Titled  bool     `json:"titled"`
	Command []string `json:"command"` // secrets removed
	Python  bool     `json:"python"`
	Start   uint64   `json:"-"` // clock ticks since boot: tells PIDs used again apart
	StartNS int64    `json:"start_ns"`
	Exe     string   `json:"exe,omitempty"` // as seen inside the process's mount namespace
	UID     int      `json:"uid"`

	NSPID       int    `json:"ns_pid"`        // its number in its own PID namespace
	OtherPIDs   bool   `json:"other_pid_ns"`  // a PID namespace that is not ours
	OtherMounts bool   `json:"other_mnt_ns"`  // a mount namespace that is not ours
	OtherUsers  bool   `json:"other_user_ns"` // a user namespace that is not ours
	Container   string `json:"container_id,omitempty"`
	helper      bool
}

// Process finds the server's process of that PID.
func (s *Server) Process(pid int) *Process {
	for i := range s.Processes {
		if s.Processes[i].PID == pid {
			return &s.Processes[i]
		}
	}
	return nil
}

// Engines are the processes that say that they hold an engine.
func (s *Server) Engines() []Process { return s.with(RoleEngine) }

// Candidates are the processes that may hold an engine, the likely ones first:
// the titled engines, and where nothing is titled (vLLM before 0.10, engines in
// process) all of the server's Python processes.
func (s *Server) Candidates() []Process {
	if e := s.Engines(); len(e) > 0 {
		return e
	}
	var c []Process
	for _, p := range s.Processes {
		if p.Python && !p.helper && p.Role != RoleWorker && p.Role != RoleCoordinator {
			c = append(c, p)
		}
	}
	return c
}

func (s *Server) with(r Role) []Process {
	var out []Process
	for _, p := range s.Processes {
		if p.Role == r {
			out = append(out, p)
		}
	}
	return out
}

// number gives engines and their workers their indices: an engine's is its
// data-parallel rank, a worker's its place among the workers of its engine.
func (s *Server) number() {
	engineOf := map[int]int{} // pid → engine
	for i := range s.Processes {
		p := &s.Processes[i]
		if n, ok := (Title{Ranks: p.Ranks}).In("DP"); ok && p.Role != RoleCoordinator {
			p.Engine = &n
		} else if p.Role == RoleEngine {
			p.Engine = new(int)
		}
		if p.Role == RoleEngine {
			engineOf[p.PID] = *p.Engine
		}
	}
	workers := map[int][]*Process{}
	for i := range s.Processes {
		p := &s.Processes[i]
		if p.Role != RoleWorker {
			continue
		}
		if p.Engine == nil {
			n := engineOf[p.PPID]
			p.Engine = &n
		}
		workers[*p.Engine] = append(workers[*p.Engine], p)
	}
	for _, w := range workers {
		slices.SortFunc(w, byRank)
		for n, p := range w {
			p.Rank = &n
		}
	}
}

func byRank(a, b *Process) int {
	for _, dim := range []string{"PP", "PCP", "TP", "DCP", "EP"} {
		x, _ := (Title{Ranks: a.Ranks}).In(dim)
		y, _ := (Title{Ranks: b.Ranks}).In(dim)
		if c := cmp.Compare(x, y); c != 0 {
			return c
		}
	}
	return cmp.Compare(a.PID, b.PID)
}
