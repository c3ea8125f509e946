package hook

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pmtrace/pmtrace/probes/cpython"
)

// maxLocal is how many variables the programs can tell apart (PM_LOCAL_CELL).
const maxLocal = 0x7fff

// Flags of a code object: its frames are left and entered again between their
// beginning and their end.
const suspends = 0x20 | 0x80 | 0x200 // CO_GENERATOR, CO_COROUTINE, CO_ASYNC_GENERATOR

// NotFoundError says that a process does not have a function.
type NotFoundError struct {
	Spec, Why, Remedy string
}

func (e *NotFoundError) Error() string { return e.Spec + ": " + e.Why + "; " + e.Remedy }

// PythonFunction is a function in a process, with what a watch on it needs.
type PythonFunction struct {
	Code cpython.Code
	// First instruction, RESUME, and the one behind it, which is watched (in 3.10 the
	// first is all three); and the returns.
	First, Resume, Entry uint64
	Returns              []uint64
	Warmup               uint64 // see cpython.Runtime.WarmupAddr
	Cold                 bool
	// Suspends: a generator or coroutine.
	Suspends bool
	Locals   []Local // of the Spec's arguments, in their order
	Types    Types
}

// Local is a variable of a function.
type Local struct {
	Index int
	Cell  bool
}

// Types are addresses of types, by which values are told apart.
type Types struct {
	Float, Bool, Set, FrozenSet, Deque, ByteArray, Member uint64
}

// FindPython finds a function in the main interpreter of a process.
func FindPython(rt *cpython.Runtime, s Spec) (*PythonFunction, error) {
	missing := func(why, remedy string) error { return &NotFoundError{s.String(), why, remedy} }
	interp, err := rt.MainInterpreter()
	if err != nil {
		return nil, missing("the interpreter cannot be read: "+err.Error(), "see pmtrace check --pid")
	}
	dict, err := rt.Module(interp, s.Where)
	if err != nil {
		return nil, missing(fmt.Sprintf("the process has not imported %s", s.Where), offer(nearModules(rt, interp, s.Where)))
	}
	obj, err := member(rt, dict, s)
	if err != nil {
		return nil, err
	}
	fn, err := rt.Unwrap(obj)
	if err != nil {
		return nil, missing("it is no Python function", "name one that def makes: "+offer(nil))
	}
	f, err := examine(rt, fn.Code)
	if err != nil {
		return nil, missing("its code cannot be watched: "+err.Error(), offer(nil))
	}
	for _, a := range s.Arguments {
		i, _ := f.Code.LocalIndex(a.Local)
		if !slices.Contains(f.Code.Parameters(), a.Local) || i >= maxLocal {
			return nil, missing(fmt.Sprintf("it has no argument %s", a.Local), "there is "+strings.Join(f.Code.Parameters(), ", "))
		}
		f.Locals = append(f.Locals, Local{i, f.Code.IsCell(i)})
	}
	f.Types, err = findTypes(rt, interp)
	return f, err
}

// member finds what a qualified name means in a module.
func member(rt *cpython.Runtime, dict uint64, s Spec) (uint64, error) {
	names := strings.Split(s.Function, ".")
	obj, err := rt.DictGet(dict, names[0])
	if err != nil {
		return 0, &NotFoundError{s.String(), fmt.Sprintf("%s has no %s", s.Where, names[0]), offer(near(names[0], dictNames(rt, dict)))}
	}
	for i, name := range names[1:] {
		class := strings.Join(names[:i+1], ".")
		t, err := rt.Type(obj)
		if err != nil || !t.IsType() {
			return 0, &NotFoundError{s.String(), class + " is no class", "name a function, or a method of a class"}
		}
		typ := obj
		if obj, err = rt.TypeAttr(typ, name); err != nil {
			return 0, &NotFoundError{s.String(), fmt.Sprintf("%s has no %s", class, name), offer(near(name, classNames(rt, typ)))}
		}
	}
	return obj, nil
}

// examine finds where a function can be watched.
func examine(rt *cpython.Runtime, addr uint64) (*PythonFunction, error) {
	code, err := rt.Code(addr)
	if err != nil {
		return nil, err
	}
	pos, err := rt.Positions(code)
	if err != nil {
		return nil, err
	}
	if pos.EntryLoops {
		return nil, errors.New("its first instruction is a loop's, and CPython 3.10 does not tell its turns from calls")
	}
	if !pos.HasEntry || !pos.HasBody {
		return nil, errors.New("it has no RESUME")
	}
	f := &PythonFunction{
		Code: code, First: code.Bytecode, Resume: pos.Entry.Addr, Entry: pos.Body.Addr, Suspends: code.Flags&suspends != 0,
	}
	for _, r := range pos.Returns {
		f.Returns = append(f.Returns, r.Addr)
	}
	f.Warmup, f.Cold, err = rt.WarmupAddr(code)
	return f, err
}

func findTypes(rt *cpython.Runtime, interp uint64) (Types, error) {
	var t Types
	for _, w := range []struct {
		module, name string
		to           *uint64
	}{
		{"builtins", "float", &t.Float}, {"builtins", "bool", &t.Bool}, {"builtins", "set", &t.Set},
		{"builtins", "frozenset", &t.FrozenSet}, {"builtins", "bytearray", &t.ByteArray},
		{"_collections", "deque", &t.Deque}, {"types", "MemberDescriptorType", &t.Member},
	} {
		dict, err := rt.Module(interp, w.module)
		if err == nil {
			*w.to, err = rt.DictGet(dict, w.name)
		}
		if err != nil && w.module == "builtins" {
			return t, fmt.Errorf("the type %s: %w", w.name, err)
		}
	}
	return t, nil
}

// maxNames bounds how much is looked through for a name.
const maxNames = 1 << 14

func dictNames(rt *cpython.Runtime, dict uint64) []string {
	items, err := rt.Dict(dict)
	if err != nil {
		return nil
	}
	var out []string
	for _, it := range items[:min(len(items), maxNames)] {
		if s, err := rt.Str(it.Key); err == nil {
			out = append(out, s)
		}
	}
	return out
}

func classNames(rt *cpython.Runtime, typ uint64) []string {
	var out []string
	t, err := rt.TypeAt(typ)
	if err != nil {
		return nil
	}
	mro, err := rt.MRO(t)
	if err != nil {
		return nil
	}
	for _, base := range mro {
		if b, err := rt.TypeAt(base); err == nil && b.Dict != 0 {
			out = append(out, dictNames(rt, b.Dict)...)
		}
	}
	return out
}

func nearModules(rt *cpython.Runtime, interp uint64, name string) []string {
	modules, err := rt.Modules(interp)
	if err != nil {
		return nil
	}
	return near(name, dictNames(rt, modules))
}
