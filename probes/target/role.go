package target

import (
	"path"
	"strconv"
	"strings"
)

// Role is what a process does in its server.
type Role string

const (
	RoleAPIServer   Role = "api_server"
	RoleEngine      Role = "engine"
	RoleWorker      Role = "worker"
	RoleCoordinator Role = "coordinator"
	RoleOther       Role = "other"
)

// Rank is a process's place in one dimension of parallelism: DP, PP, PCP, TP,
// DCP or EP.
type Rank struct {
	Dim string `json:"dim"`
	N   int    `json:"n"`
}

func (r Rank) String() string { return r.Dim + strconv.Itoa(r.N) }

// Title is what a process calls itself: "VLLM::Worker_DP1_TP0".
type Title struct {
	Role  Role
	Ranks []Rank
	N     int // of APIServer_N; -1 where there is none
}

// titleName is a name that vLLM gives its processes (VLLM-HOOKS §1.1).
type titleName struct {
	name string
	role Role
}

// titleNames lists longer names before those they begin with. The last two are
// Ray's actors.
func titleNames() []titleName {
	return []titleName{
		{"DPMoEEngineCoreActor", RoleEngine},
		{"EngineCoreActor", RoleEngine},
		{"EngineCore", RoleEngine},
		{"Worker", RoleWorker},
		{"APIServer", RoleAPIServer},
		{"DPCoordinator", RoleCoordinator},
	}
}

// ParseTitle reads a process title; ok is false for one that is not vLLM's. The
// prefix may be anything, since VLLM_PROCESS_NAME_PREFIX sets it.
func ParseTitle(s string) (t Title, ok bool) {
	prefix, name, found := strings.Cut(s, "::")
	if !found || len(s) > 256 || prefix == "" || strings.ContainsAny(prefix, " /\n\t") {
		return Title{}, false
	}
	for _, k := range titleNames() {
		rest, found := strings.CutPrefix(name, k.name)
		if !found {
			continue
		}
		if strings.HasSuffix(k.name, "Actor") {
			rest, _, _ = strings.Cut(rest, ".") // ray::EngineCoreActor.run()
		}
		t = Title{Role: k.role, N: -1}
		return t, t.ranks(rest)
	}
	return Title{}, false
}

// ranks reads "_DP1_TP0" or "_3"; false where it is anything else.
func (t *Title) ranks(s string) bool {
	for s != "" {
		if s[0] != '_' {
			return false
		}
		part, rest, more := strings.Cut(s[1:], "_")
		dim := strings.TrimRight(part, "0123456789")
		n, err := strconv.ParseUint(part[len(dim):], 10, 20)
		if err != nil || strings.Trim(dim, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
			return false
		}
		if dim == "" {
			t.N = int(n)
		} else {
			t.Ranks = append(t.Ranks, Rank{Dim: dim, N: int(n)})
		}
		if !more {
			return true
		}
		s = "_" + rest
	}
	return true
}

// In is the process's number in one dimension.
func (t Title) In(dim string) (int, bool) {
	for _, r := range t.Ranks {
		if r.Dim == dim {
			return r.N, true
		}
	}
	return 0, false
}

// titleFromComm reads the 15 bytes that are left of a title in comm; the ranks
// are cut off there.
func titleFromComm(comm string) (Title, bool) {
	_, name, ok := strings.Cut(comm, "::")
	if !ok || len(comm) < 15 || len(name) < 4 {
		return Title{}, false
	}
	for _, k := range titleNames() {
		if strings.HasPrefix(k.name, name) || strings.HasPrefix(name, k.name+"_") {
			return Title{Role: k.role, N: -1}, true
		}
	}
	return Title{}, false
}

// serverArgs returns the arguments after the words that make a command vLLM's
// API server, ok false for any other command. Forms: `python …/vllm serve A…`,
// `python -m vllm.entrypoints.openai.api_server A…`, `vllm-rs A…`.
func serverArgs(argv []string) (args []string, ok bool) {
	if len(argv) == 0 {
		return nil, false
	}
	if base(argv[0]) == "vllm-rs" {
		return argv[1:], true
	}
	rest := argv
	if isPythonName(base(argv[0])) {
		rest = skipInterpreterFlags(argv[1:])
	}
	switch {
	case len(rest) >= 2 && rest[0] == "-m" && strings.HasPrefix(rest[1], "vllm.entrypoints.cli"):
		return serveWord(rest[2:])
	case len(rest) >= 2 && rest[0] == "-m" && strings.HasPrefix(rest[1], "vllm.entrypoints."):
		return rest[2:], true
	case len(rest) >= 1 && base(rest[0]) == "vllm":
		return serveWord(rest[1:])
	case len(rest) >= 1 && strings.HasSuffix(rest[0], "vllm/entrypoints/openai/api_server.py"):
		return rest[1:], true
	}
	return nil, false
}

func serveWord(args []string) ([]string, bool) {
	if len(args) >= 1 && args[0] == "serve" {
		return args[1:], true
	}
	return nil, false
}

// skipInterpreterFlags drops python's own one-letter flags (-u, -X dev), up to
// the script or -m.
func skipInterpreterFlags(args []string) []string {
	for len(args) > 0 && strings.HasPrefix(args[0], "-") && args[0] != "-m" && args[0] != "-c" {
		if (args[0] == "-X" || args[0] == "-W") && len(args) > 1 {
			args = args[1:]
		}
		args = args[1:]
	}
	return args
}

func isPythonName(name string) bool {
	return strings.HasPrefix(name, "python") || strings.HasPrefix(name, "pypy")
}

func base(p string) string {
	p = strings.TrimSuffix(p, " (deleted)")
	if p == "" {
		return ""
	}
	return path.Base(p)
}

// isHelper says whether a command is multiprocessing's resource tracker, which
// never holds an engine.
func isHelper(argv []string) bool {
	for _, a := range argv {
		if strings.Contains(a, "multiprocessing.resource_tracker") {
			return true
		}
	}
	return false
}
