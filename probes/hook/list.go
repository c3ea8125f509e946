package hook

import (
	"cmp"
	"path"
	"slices"
	"strings"

	"github.com/pmtrace/pmtrace/probes/cpython"
)

// Candidate is a function that can be watched.
type Candidate struct {
	Spec string `json:"spec"`
	// Breakpoints that it takes with durations; 0: they cannot be had.
	Breakpoints int      `json:"breakpoints"`
	Arguments   []string `json:"arguments"`
}

// ListPython gives the functions and methods of a process's modules whose specs have a
// pattern in them, which may have wildcards as shells have them.
func ListPython(rt *cpython.Runtime, pattern string) ([]Candidate, error) {
	interp, err := rt.MainInterpreter()
	if err != nil {
		return nil, err
	}
	modules, err := rt.Modules(interp)
	if err != nil {
		return nil, err
	}
	items, err := rt.Dict(modules)
	if err != nil {
		return nil, err
	}
	l := lister{rt: rt, pattern: pattern}
	for _, it := range items {
		name, err := rt.Str(it.Key)
		if err != nil {
			continue
		}
		if dict, err := rt.ModuleDict(it.Value); err == nil {
			l.module(name, dict)
		}
	}
	slices.SortFunc(l.found, func(a, b Candidate) int { return cmp.Compare(a.Spec, b.Spec) })
	return l.found, nil
}

func fits(spec, pattern string) bool {
	ok, err := path.Match("*"+strings.ToLower(pattern)+"*", strings.ToLower(spec))
	return err == nil && ok
}

type lister struct {
	rt      *cpython.Runtime
	pattern string
	found   []Candidate
}

func (l *lister) module(name string, dict uint64) {
	items, err := l.rt.Dict(dict)
	if err != nil {
		return
	}
	for _, it := range items {
		member, err := l.rt.Str(it.Key)
		if err != nil {
			continue
		}
		t, err := l.rt.Type(it.Value)
		if err != nil {
			continue
		}
		if t.IsType() {
			l.class(name, member, it.Value)
		} else if t.Name == "function" {
			l.function(name, member, it.Value)
		}
	}
}

// class gives the methods that a class of the module itself has.
func (l *lister) class(module, name string, typ uint64) {
	t, err := l.rt.TypeAt(typ)
	if err != nil || !t.IsHeap() || t.Dict == 0 || l.definedIn(t.Dict) != module {
		return
	}
	items, err := l.rt.Dict(t.Dict)
	if err != nil {
		return
	}
	for _, it := range items {
		if member, err := l.rt.Str(it.Key); err == nil {
			l.function(module, name+"."+member, it.Value)
		}
	}
}

func (l *lister) definedIn(dict uint64) string {
	obj, err := l.rt.DictGet(dict, "__module__")
	if err != nil {
		return ""
	}
	s, err := l.rt.Str(obj)
	if err != nil {
		return ""
	}
	return s
}

// function takes what fits, where its name is the one that it was defined by: else it is
// another module's.
func (l *lister) function(module, name string, obj uint64) {
	spec := Spec{Language: Python, Where: module, Function: name}.String()
	if !fits(spec, l.pattern) {
		return
	}
	fn, err := l.rt.Unwrap(obj)
	if err != nil || fn.Qualname != name && !strings.Contains(name, ".") {
		return
	}
	f, err := examine(l.rt, fn.Code)
	if err != nil {
		return
	}
	c := Candidate{Spec: spec, Arguments: f.Code.Parameters()}
	if n := len(f.Returns); n > 0 && !f.Suspends {
		c.Breakpoints = 1 + n
	}
	l.found = append(l.found, c)
}

// ListNative gives the exported functions of the files of a process whose names contain
// one, that fit a pattern.
func ListNative(pid int, file, pattern string) ([]Candidate, error) {
	libs, err := mappedLike(pid, file)
	if err != nil {
		return nil, err
	}
	var out []Candidate
	for _, lib := range libs {
		for _, name := range exported(lib) {
			spec := Spec{Language: C, Where: lib.Path[strings.LastIndexByte(lib.Path, '/')+1:], Function: name}.String()
			if fits(spec, pattern) {
				out = append(out, Candidate{Spec: spec})
			}
		}
	}
	return out, nil
}
