package cpython

// code310 reads a code object of CPython 3.10: its code units are in a bytes object of
// their own, which nothing ever writes to, and the slots of a frame are the local
// variables, then the cells, then the free variables, each with their names in a tuple.
func (r *Runtime) code310(addr uint64) (Code, error) {
	o := &r.off.Code
	v, err := r.fields("code", addr, o.Bytes, o.Flags, o.ArgCount, o.KeywordOnly, o.FirstLine, o.LocalNames, o.CellNames, o.FreeNames, o.Filename, o.Name, o.LineTable)
	if err != nil {
		return Code{}, err
	}
	c := Code{
		Addr: addr, FirstLine: v.i32(o.FirstLine), ArgCount: v.i32(o.ArgCount), KeywordOnly: v.i32(o.KeywordOnly),
		Flags: v.u32(o.Flags), lineTable: v.u64(o.LineTable), LocalNames: []string{}, cellsAreLast: true,
	}
	if c.Bytecode, c.Units, err = r.unitsIn(v.u64(o.Bytes)); err != nil {
		return Code{}, err
	}
	if c.Name, err = r.Str(v.u64(o.Name)); err != nil {
		return Code{}, err
	}
	c.Qualname = c.Name
	if c.Filename, err = r.Str(v.u64(o.Filename)); err != nil {
		return Code{}, err
	}
	for i, names := range []uint64{v.u64(o.LocalNames), v.u64(o.CellNames), v.u64(o.FreeNames)} {
		if err := r.addLocals(&c, names, i > 0); err != nil {
			return Code{}, err
		}
	}
	c.Nlocalsplus = len(c.LocalNames)
	return c, nil
}

// unitsIn gives the address and number of the code units in a bytes object.
func (r *Runtime) unitsIn(code uint64) (addr uint64, units int, err error) {
	if _, err := r.want("bytecode", code, flagBytes); err != nil {
		return 0, 0, err
	}
	v, err := r.fields("bytecode", code, r.off.Bytes.Size)
	if err != nil {
		return 0, 0, err
	}
	n, err := r.length("bytecode", code, v.i64(r.off.Bytes.Size), 2*r.limits.CodeUnits)
	return code + uint64(r.off.Bytes.Data), n / 2, err
}

// addLocals puts the slots with the names behind those that are known.
func (r *Runtime) addLocals(c *Code, names uint64, cells bool) error {
	objs, err := r.tupleItems("local names", names, maxLocals-len(c.LocalNames))
	if err != nil {
		return err
	}
	kind := byte(0)
	if cells {
		kind = localIsCell
	} else {
		c.locals = len(objs)
	}
	for _, obj := range objs {
		name, err := r.Str(obj)
		if err != nil {
			return err
		}
		c.LocalNames, c.kinds = append(c.LocalNames, name), append(c.kinds, kind)
	}
	return nil
}

// HasQualnames is false where code objects do not know their qualified name (3.10);
// CodeName and Code.Qualname are the plain name then.
func (r *Runtime) HasQualnames() bool { return r.off.Code.Qualname != Absent }

// Qualname is the qualified name of the function that a frame runs. Where its code does
// not know it, it is looked up among the methods of the first argument's class; of a
// method that is not found there it is the name behind "?.".
func (r *Runtime) Qualname(f Frame, c Code) string {
	if r.HasQualnames() || c.ArgCount == 0 || c.LocalNames[0] != "self" && c.LocalNames[0] != "cls" {
		return c.Qualname
	}
	unknown := "?." + c.Name
	self, err := r.LocalByName(f, c, c.LocalNames[0])
	if err != nil {
		return unknown
	}
	t, err := r.Type(self)
	if err == nil && t.IsType() {
		t, err = r.TypeAt(self)
	}
	if err != nil {
		return unknown
	}
	mro, err := r.MRO(t)
	if err != nil {
		return unknown
	}
	for _, addr := range mro {
		base, err := r.TypeAt(addr)
		if err != nil || base.Dict == 0 {
			continue
		}
		obj, ok, err := r.lookup(base.Dict, c.Name)
		if err != nil || !ok {
			continue
		}
		if fn, err := r.Unwrap(obj); err == nil && fn.Code == c.Addr {
			return fn.Qualname
		}
	}
	return unknown
}
