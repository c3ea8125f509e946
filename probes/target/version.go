package target

import (
	"bufio"
	"io"
	"path/filepath"
	"slices"
	"strings"
)

// Versions are those of a process's Python environment, as its files name
// them; nothing is run. "": not found.
type Versions struct {
	Python string `json:"python,omitempty"` // minor version: 3.12
	VLLM   string `json:"vllm,omitempty"`
	Torch  string `json:"torch,omitempty"`
	CUDA   string `json:"cuda,omitempty"` // that torch was built for
}

// Bounds on the directories that are looked into.
const (
	maxSites      = 8
	maxNames      = 1 << 16
	maxVersionPy  = 64 << 10
	maxPathLength = 4096
)

// Versions reads the versions of a process's Python packages: from the
// dist-info directories and version files of every site-packages that it has
// files mapped of, or that belongs to the environment it was started in. All
// through /proc/PID/root, so that containers work.
func (p Proc) Versions(pid int) Versions {
	var v Versions
	for _, site := range p.sites(pid) {
		if v.Python == "" {
			v.Python = pythonOf(site)
		}
		p.readSite(pid, site, &v)
	}
	if v.Python == "" {
		v.Python = p.pythonMapped(pid)
	}
	return v
}

// sites lists site-packages directories, as named inside the process.
func (p Proc) sites(pid int) []string {
	var sites []string
	add := func(dir string) {
		if len(sites) < maxSites && len(dir) < maxPathLength && !slices.Contains(sites, dir) {
			sites = append(sites, dir)
		}
	}
	p.eachMapped(pid, func(path string) bool {
		for _, name := range []string{"/site-packages/", "/dist-packages/"} {
			if i := strings.Index(path, name); i >= 0 {
				add(path[:i+len(name)-1])
			}
		}
		// On PYTHONPATH, or an editable install.
		for _, pkg := range []string{"/vllm/", "/torch/lib/"} {
			if i := strings.Index(path, pkg); i > 0 && strings.HasSuffix(path, ".so") {
				add(path[:i])
			}
		}
		return len(sites) < maxSites
	})
	for _, env := range p.environments(pid) {
		lib := filepath.Join(env, "lib")
		for _, name := range p.namesInside(pid, lib, isPythonLib) {
			if site := filepath.Join(lib, name, "site-packages"); p.isDirInside(pid, site) {
				add(site)
			}
		}
	}
	return sites
}

// environments are the directories whose bin/ holds the interpreter or the
// script that was started.
func (p Proc) environments(pid int) []string {
	argv, _ := p.command(pid)
	paths := []string{p.link(pid, "exe")}
	paths = append(paths, argv[:min(len(argv), 2)]...)
	var envs []string
	for _, f := range paths {
		dir := filepath.Dir(f)
		if strings.HasPrefix(f, "/") && filepath.Base(dir) == "bin" {
			envs = append(envs, filepath.Dir(dir))
		}
	}
	return envs
}

func (p Proc) readSite(pid int, site string, v *Versions) {
	if v.VLLM == "" {
		v.VLLM = p.pyAssigned(pid, filepath.Join(site, "vllm", "_version.py"), "__version__")
	}
	if v.Torch == "" {
		v.Torch = p.pyAssigned(pid, filepath.Join(site, "torch", "version.py"), "__version__")
		v.CUDA = p.pyAssigned(pid, filepath.Join(site, "torch", "version.py"), "cuda")
	}
	if v.VLLM != "" && v.Torch != "" {
		return
	}
	for _, name := range p.namesInside(pid, site, isDistInfo) {
		name = strings.TrimSuffix(name, ".dist-info")
		if s, ok := strings.CutPrefix(name, "vllm-"); ok && v.VLLM == "" {
			v.VLLM = clean(s)
		}
		if s, ok := strings.CutPrefix(name, "torch-"); ok && v.Torch == "" {
			v.Torch = clean(s)
		}
	}
}

// pyAssigned finds a string that a generated Python file assigns to a name:
// `cuda: Optional[str] = '13.0'`, `__version__ = version = '0.32.0'`.
func (p Proc) pyAssigned(pid int, file, name string) string {
	f, err := p.openInside(pid, file)
	if err != nil {
		return ""
	}
	defer f.Close()
	lines := bufio.NewScanner(io.LimitReader(f, maxVersionPy))
	for lines.Scan() {
		left, right, ok := strings.Cut(lines.Text(), "=")
		target, _, _ := strings.Cut(left, ":")
		if !ok || strings.TrimSpace(target) != name {
			continue
		}
		right = right[strings.LastIndexByte(right, '=')+1:]
		right = strings.TrimSpace(right)
		if len(right) >= 2 && (right[0] == '\'' || right[0] == '"') && right[len(right)-1] == right[0] {
			return clean(right[1 : len(right)-1])
		}
	}
	return ""
}

// pythonOf reads "3.12" out of …/lib/python3.12/site-packages.
func pythonOf(path string) string {
	for part := range strings.SplitSeq(path, "/") {
		if v, ok := strings.CutPrefix(part, "python"); ok && strings.HasPrefix(v, "3.") {
			return clean(v)
		}
	}
	return ""
}

// pythonMapped reads it out of libpython3.12.so.1.0 or the executable's name.
func (p Proc) pythonMapped(pid int) string {
	version := ""
	p.eachMapped(pid, func(path string) bool {
		if v, ok := strings.CutPrefix(base(path), "libpython3."); ok {
			minor, _, _ := strings.Cut(v, ".")
			version = "3." + minor
		} else if v, ok := strings.CutPrefix(base(path), "python3."); ok {
			version = "3." + v
		}
		return version == ""
	})
	return clean(version)
}

// clean bounds a version that somebody else's file named.
func clean(s string) string {
	if len(s) > 64 {
		s = s[:64]
	}
	return strings.Map(func(r rune) rune {
		if r > ' ' && r < 0x7f {
			return r
		}
		return -1
	}, s)
}
