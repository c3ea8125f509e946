package cpython

// Function is a Python function object.
type Function struct {
	Addr     uint64
	Code     uint64
	Globals  uint64
	Qualname string
	Closure  uint64 // a tuple of cells, or 0
	Dict     uint64 // its own attributes, or 0
}

// Function gives the function in obj: obj itself, that of a bound method, a
// classmethod, a staticmethod or a property's getter. It stays at a decorator's
// wrapper; Unwrap goes on.
func (r *Runtime) Function(obj uint64) (Function, error) {
	for range r.limits.Depth {
		t, err := r.Type(obj)
		if err != nil {
			return Function{}, err
		}
		var next int
		switch t.Name {
		case "function":
			return r.function(obj)
		case "method":
			next = r.off.Method.Func
		case "classmethod", "staticmethod":
			next = r.off.Wrapper.Callable
		case "property":
			next = r.off.Property.Getter
		default:
			return Function{}, r.fail(WrongType, "function", obj, "it is a "+t.Name)
		}
		if obj, err = r.u64(t.Name, obj+uint64(next)); err != nil {
			return Function{}, err
		}
	}
	return Function{}, r.fail(Cycle, "function", obj, "")
}

func (r *Runtime) function(obj uint64) (Function, error) {
	o := &r.off.Func
	v, err := r.fields("function", obj, o.Globals, o.Qualname, o.Code, o.Closure, o.Dict)
	if err != nil {
		return Function{}, err
	}
	f := Function{Addr: obj, Code: v.u64(o.Code), Globals: v.u64(o.Globals), Closure: v.u64(o.Closure), Dict: v.u64(o.Dict)}
	f.Qualname, err = r.Str(v.u64(o.Qualname))
	return f, err
}

// Unwrap follows __wrapped__, which functools.wraps leaves on a decorator's
// wrapper, to the innermost function.
func (r *Runtime) Unwrap(obj uint64) (Function, error) {
	for range r.limits.Depth {
		f, err := r.Function(obj)
		if err != nil || f.Dict == 0 {
			return f, err
		}
		inner, ok, err := r.lookup(f.Dict, "__wrapped__")
		if err != nil || !ok {
			return f, err
		}
		obj = inner
	}
	return Function{}, r.fail(Cycle, "wrapped function", obj, "")
}

// maxClosure bounds the cells of one function.
const maxClosure = 256

// ClosureCells gives the objects in f's closure, in the order of its free
// variables; 0 for an empty cell.
func (r *Runtime) ClosureCells(f Function) ([]uint64, error) {
	if f.Closure == 0 {
		return nil, nil
	}
	cells, err := r.tupleItems("closure", f.Closure, maxClosure)
	if err != nil {
		return nil, err
	}
	for i, cell := range cells {
		if cells[i], err = r.u64("cell", cell+uint64(r.off.Cell.Ref)); err != nil {
			return nil, err
		}
	}
	return cells, nil
}

// ClosureFunctions gives the functions in f's closure: what a decorator that
// does not use functools.wraps wraps.
func (r *Runtime) ClosureFunctions(f Function) ([]Function, error) {
	cells, err := r.ClosureCells(f)
	if err != nil {
		return nil, err
	}
	var out []Function
	for _, obj := range cells {
		if obj == 0 {
			continue
		}
		if inner, err := r.Function(obj); err == nil {
			out = append(out, inner)
		}
	}
	return out, nil
}

// Method gives the object and the function of a bound method.
func (r *Runtime) Method(obj uint64) (self, fn uint64, err error) {
	if _, err := r.wantNamed("method", obj, "method"); err != nil {
		return 0, 0, err
	}
	o := &r.off.Method
	v, err := r.fields("method", obj, o.Self, o.Func)
	if err != nil {
		return 0, 0, err
	}
	return v.u64(o.Self), v.u64(o.Func), nil
}

// Weakref gives the target of a weak reference, 0 when it is dead. Dead
// references point to None.
func (r *Runtime) Weakref(obj uint64) (uint64, error) {
	if err := r.wantWeakref(obj); err != nil {
		return 0, err
	}
	target, err := r.u64("weakref", obj+uint64(r.off.Weakref.Target))
	if err != nil || r.IsNone(target) {
		return 0, err
	}
	return target, nil
}

func (r *Runtime) wantWeakref(obj uint64) error {
	t, err := r.Type(obj)
	for depth := 0; err == nil; depth++ {
		switch t.Name {
		case "weakref.ReferenceType", "weakref", "weakref.ProxyType", "weakproxy":
			return nil
		}
		if t.Base == 0 || depth >= r.limits.MRO {
			return r.fail(WrongType, "weakref", obj, "it is a "+t.Name)
		}
		t, err = r.TypeAt(t.Base)
	}
	return err
}

// Enum is a member of an enum.Enum.
type Enum struct {
	Name  string
	Value uint64 // the object behind ._value_
}

// Enum reads an enum member. For an IntEnum, Int(obj) gives the number too.
func (r *Runtime) Enum(obj uint64) (Enum, error) {
	name, err := r.Attr(obj, "_name_")
	if err != nil {
		return Enum{}, err
	}
	value, err := r.Attr(obj, "_value_")
	if err != nil {
		return Enum{}, err
	}
	e := Enum{Value: value}
	e.Name, err = r.Str(name)
	return e, err
}
