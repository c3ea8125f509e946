package vllm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/pmtrace/pmtrace/probes/cpython"
)

// functionCache is what the last scan found, and by what to tell that another
// one would find the same.
type functionCache struct {
	found   []KnownFunction
	modules uint64 // sys.modules
	count   int    // its entries
	watched []moduleSize
}

// moduleSize is a module's dict and its number of entries. A module that is
// being imported is in sys.modules long before its classes are in its dict.
type moduleSize struct {
	dict uint64
	used int64
}

// maxFunctions bounds what one process is believed to have.
const maxFunctions = 4096

// Functions gives the known functions that the process has by now. changed:
// they are not the same as at the last call. It costs little where no module
// that matters was imported since.
func (w *Worker) Functions() (fs []KnownFunction, changed bool, err error) {
	c := &w.functions
	if c.modules != 0 {
		if count, err := w.Python.DictLen(c.modules); err == nil && count == c.count && w.sameSizes(c.watched) {
			return c.found, false, nil
		}
	}
	modules, err := w.Python.Modules(w.interp)
	if err != nil {
		return c.found, false, err
	}
	count, err := w.Python.DictLen(modules)
	if err != nil {
		return c.found, false, err
	}
	s := functionScan{rt: w.Python.Snapshot(pages), live: w.Python, known: map[uint64]bool{}}
	if err := s.modules(modules); err != nil {
		return c.found, false, err
	}
	if len(s.found) >= maxFunctions {
		err = fmt.Errorf("more than %d known functions: the others are not known", maxFunctions)
	}
	changed = !slices.Equal(s.found, c.found)
	*c = functionCache{found: s.found, modules: modules, count: count, watched: s.watched}
	return c.found, changed, err
}

// sameSizes reads the sizes of the modules' dicts in one go.
func (w *Worker) sameSizes(watched []moduleSize) bool {
	used := uint64(w.Python.Offsets().Dict.Used)
	buf := make([]byte, 8*len(watched))
	reqs := make([]cpython.ReadRequest, len(watched))
	for i, m := range watched {
		reqs[i] = cpython.ReadRequest{Addr: m.dict + used, Buf: buf[8*i : 8*i+8]}
	}
	cpython.ReadMulti(w.Python.Memory(), reqs)
	for i, m := range watched {
		if reqs[i].Err != nil || int64(binary.LittleEndian.Uint64(reqs[i].Buf)) != m.used {
			return false
		}
	}
	return true
}

// functionScan looks through the modules for the functions of phaseRows.
type functionScan struct {
	rt      *cpython.Runtime // a snapshot
	live    *cpython.Runtime
	known   map[uint64]bool // code objects
	found   []KnownFunction
	watched []moduleSize
	entries int // of modules, looked at
}

// A process has some thousand modules, and the ones that are looked into some
// thousand names each.
const (
	maxModules       = 1 << 16
	maxModuleEntries = 1 << 21
)

func (s *functionScan) modules(modules uint64) error {
	if n, err := s.rt.DictLen(modules); err != nil {
		return err
	} else if n > maxModules {
		return fmt.Errorf("sys.modules has %d entries", n)
	}
	items, err := s.rt.Dict(modules)
	if err != nil {
		return err
	}
	for _, it := range items {
		if s.entries > maxModuleEntries {
			return errors.New("the modules of vLLM and torch are larger than any")
		}
		name, err := s.rt.Str(it.Key)
		if err != nil {
			continue // no name; counted by the Runtime
		}
		rows := rowsFor(name)
		if len(rows) == 0 {
			continue
		}
		dict, err := s.rt.ModuleDict(it.Value)
		if err != nil {
			continue
		}
		s.module(name, dict, rows)
	}
	return nil
}

// rowsFor gives the rows that a module may have functions of.
func rowsFor(module string) []phaseRow {
	if !strings.HasPrefix(module, "vllm.") && !strings.HasPrefix(module, "torch.nn.modules.") {
		return nil
	}
	var rows []phaseRow
	for _, row := range phaseRows {
		if ok, err := path.Match(row.module, module); ok && err == nil {
			rows = append(rows, row)
		}
	}
	return rows
}

func (s *functionScan) module(name string, dict uint64, rows []phaseRow) {
	// The size first, and live: what is added after it will be seen as a change.
	n, err := s.live.DictLen(dict)
	if err != nil {
		return
	}
	s.entries += n
	s.watched = append(s.watched, moduleSize{dict: dict, used: int64(n)})
	file := "/" + strings.ReplaceAll(name, ".", "/")
	var classes []uint64
	for _, row := range rows {
		for _, fn := range row.names {
			method, anyClass := strings.CutPrefix(fn, "*.")
			if !anyClass {
				s.named(dict, file, fn, row)
				continue
			}
			if classes == nil {
				classes = s.classes(dict)
			}
			for _, class := range classes {
				if obj, err := s.rt.DictGet(class, method); err == nil {
					s.add(obj, file, fn, row)
				}
			}
		}
	}
}

// classes gives the dicts of the classes in a module.
func (s *functionScan) classes(dict uint64) []uint64 {
	classes := []uint64{}
	if s.entries > maxModuleEntries {
		return classes
	}
	items, err := s.rt.Dict(dict)
	if err != nil {
		return classes
	}
	for _, it := range items {
		t, err := s.rt.Type(it.Value)
		if err != nil || !t.IsType() {
			continue
		}
		if class, err := s.rt.TypeAt(it.Value); err == nil && class.IsHeap() && class.Dict != 0 {
			classes = append(classes, class.Dict)
		}
	}
	return classes
}

// named finds a function by its qualified name.
func (s *functionScan) named(dict uint64, file, qualname string, row phaseRow) {
	outer, _, nested := strings.Cut(qualname, ".<locals>.")
	class, method, isMethod := strings.Cut(outer, ".")
	if isMethod {
		at, err := s.rt.DictGet(dict, class)
		if err != nil {
			return
		}
		t, err := s.rt.TypeAt(at)
		if err != nil || t.Dict == 0 {
			return
		}
		dict = t.Dict
	} else {
		method = outer
	}
	obj, err := s.rt.DictGet(dict, method)
	if err != nil {
		return
	}
	if !nested {
		s.add(obj, file, qualname, row)
		return
	}
	if code, ok := s.code(obj, file, outer); ok {
		s.nested(code, file, qualname, row, 0)
	}
}

// maxNesting bounds how deep a nested function is looked for.
const maxNesting = 4

// nested finds a function among those that another one's code makes.
func (s *functionScan) nested(outer uint64, file, qualname string, row phaseRow, depth int) {
	code, err := s.rt.Code(outer)
	if err != nil || depth > maxNesting {
		return
	}
	consts, err := s.rt.CodeConsts(code)
	if err != nil {
		return
	}
	for _, c := range consts {
		if t, err := s.rt.Type(c); err != nil || t.Name != "code" {
			continue
		}
		name, err := s.rt.CodeName(c)
		switch {
		case err != nil:
		case s.fits(c, file, qualname):
			s.know(c, s.nameOf(name, qualname), row)
		case s.rt.HasQualnames() && strings.HasPrefix(qualname, name+".<locals>."), !s.rt.HasQualnames() && strings.Contains(qualname, "."+name+".<locals>."):
			s.nested(c, file, qualname, row, depth+1)
		}
	}
}

func (s *functionScan) add(obj uint64, file, qualname string, row phaseRow) {
	code, ok := s.code(obj, file, qualname)
	if !ok {
		return
	}
	if method, anyClass := strings.CutPrefix(qualname, "*"); anyClass {
		if fn, err := s.rt.Unwrap(obj); err == nil && strings.HasSuffix(fn.Qualname, method) {
			qualname = fn.Qualname
		}
	}
	if name, err := s.rt.CodeName(code); err == nil {
		s.know(code, s.nameOf(name, qualname), row)
	}
}

// nameOf is a function's qualified name, also where its code has only the plain one.
func (s *functionScan) nameOf(name, qualname string) string {
	if s.rt.HasQualnames() || strings.HasPrefix(qualname, "*") {
		return name
	}
	return qualname
}

// code gives the code object of a function, of what decorators wrap where they
// wrap it: the one that has the name and is of the file.
func (s *functionScan) code(obj uint64, file, qualname string) (uint64, bool) {
	fn, err := s.rt.Unwrap(obj)
	if err != nil {
		return 0, false
	}
	return s.codeOf(fn, file, qualname, 0)
}

func (s *functionScan) codeOf(fn cpython.Function, file, qualname string, depth int) (uint64, bool) {
	if s.fits(fn.Code, file, qualname) {
		return fn.Code, true
	}
	if depth > maxNesting {
		return 0, false
	}
	inner, err := s.rt.ClosureFunctions(fn)
	if err != nil {
		return 0, false
	}
	for _, f := range inner {
		if code, ok := s.codeOf(f, file, qualname, depth+1); ok {
			return code, true
		}
	}
	return 0, false
}

// fits reports whether a code object has the qualified name (*.method: is that
// method of some class) and is of the module's file.
func (s *functionScan) fits(code uint64, file, qualname string) bool {
	name, err := s.rt.CodeName(code)
	if err != nil {
		return false
	}
	if !s.rt.HasQualnames() {
		qualname = qualname[strings.LastIndex(qualname, ".")+1:]
	}
	if method, anyClass := strings.CutPrefix(qualname, "*"); anyClass && !strings.HasSuffix(name, method) || !anyClass && name != qualname {
		return false
	}
	got, err := s.rt.CodeFilename(code)
	return err == nil && (strings.HasSuffix(got, file+".py") || strings.HasSuffix(got, file+"/__init__.py"))
}

func (s *functionScan) know(code uint64, name string, row phaseRow) {
	if s.known[code] || len(s.found) >= maxFunctions {
		return
	}
	s.known[code] = true
	f := KnownFunction{
		Code: code, Phase: row.phase, Weak: row.flags&weak != 0, Dummy: row.flags&dummy != 0, Throwaway: row.flags&throwaway != 0,
		OutputLocal: -1, Name: name,
	}
	if row.flags&takesOutput != 0 {
		if c, err := s.rt.Code(code); err == nil {
			if i, ok := c.LocalIndex("scheduler_output"); ok {
				f.OutputLocal, f.OutputCell = i, c.IsCell(i)
			}
		}
	}
	s.found = append(s.found, f)
}
