package cpython

// Module gives the dict of a module in sys.modules of an interpreter.
func (r *Runtime) Module(interp uint64, name string) (uint64, error) {
	modules, err := r.Modules(interp)
	if err != nil {
		return 0, err
	}
	mod, err := r.DictGet(modules, name)
	if err != nil {
		return 0, err
	}
	return r.ModuleDict(mod)
}

// Modules gives sys.modules.
func (r *Runtime) Modules(interp uint64) (uint64, error) {
	modules, err := r.u64("interpreter", interp+uint64(r.off.Interp.Modules))
	if err == nil {
		if _, err = r.want("sys.modules", modules, flagDict); err == nil {
			if _, ok, err := r.lookup(modules, "builtins"); ok || err != nil {
				return modules, err
			}
		}
	}
	// The offset is the table's to 3.12: sysdict, of other size changes, is the
	// second way.
	sys, err := r.u64("interpreter", interp+uint64(r.off.Interp.SysDict))
	if err != nil {
		return 0, err
	}
	return r.DictGet(sys, "modules")
}

// ModuleDict gives the dict of a module object.
func (r *Runtime) ModuleDict(mod uint64) (uint64, error) {
	t, err := r.Type(mod)
	for depth := 0; err == nil && t.Name != "module"; depth++ {
		if t.Base == 0 || depth >= r.limits.MRO {
			return 0, r.fail(WrongType, "module", mod, "it is a "+t.Name)
		}
		t, err = r.TypeAt(t.Base)
	}
	if err != nil {
		return 0, err
	}
	dict, err := r.u64("module", mod+uint64(r.off.Module.Dict))
	if err == nil && dict == 0 {
		err = r.fail(NullPointer, "module", mod, "")
	}
	return dict, err
}

// Globals gives the module dict that a frame's function sees.
func (r *Runtime) Globals(f Frame) (uint64, error) {
	_, err := r.want("globals", f.Globals, flagDict)
	return f.Globals, err
}
