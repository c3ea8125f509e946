package cpython

// attrs is where the attributes of one object are now.
type attrs struct {
	// values of an object without a dict (form inline), else 0.
	values uint64
	keys   uint64 // the shared keys of values
	// dict holds the attributes where values is 0; dictAt is the address of the
	// pointer to it.
	dict, dictAt uint64
}

// attrsOf finds the attributes of obj. NotFound: it has no instance dict at
// all, or none yet.
func (r *Runtime) attrsOf(obj uint64, t Type) (attrs, error) {
	if t.Flags&uint64(r.off.Type.FlagManagedDict) != 0 {
		return r.managedAttrs(obj, t)
	}
	off, err := r.dictOffset(obj, t)
	if err != nil {
		return attrs{}, err
	}
	at := obj + uint64(off)
	dict, err := r.u64("instance dict", at)
	return attrs{dict: dict, dictAt: at}, err
}

// managedAttrs knows the three forms, see InstanceForm.
func (r *Runtime) managedAttrs(obj uint64, t Type) (attrs, error) {
	o := &r.off.Instance
	switch o.Form {
	case FormValuesPointer:
		v, err := r.fields("instance", obj, o.ValuesPtr, o.DictPtr)
		if err != nil {
			return attrs{}, err
		}
		a := attrs{values: v.u64(o.ValuesPtr), keys: t.CachedKeys, dict: v.u64(o.DictPtr), dictAt: obj + uint64(o.DictPtr)}
		return a, nil
	case FormTagged:
		v, err := r.fields("instance", obj, o.DictPtr)
		if err != nil {
			return attrs{}, err
		}
		word := v.u64(o.DictPtr)
		if word&1 != 0 {
			return attrs{values: word + 1, keys: t.CachedKeys}, nil
		}
		return attrs{dict: word, dictAt: obj + uint64(o.DictPtr)}, nil
	}
	v, err := r.fields("instance", obj, o.DictPtr)
	if err != nil {
		return attrs{}, err
	}
	a := attrs{dict: v.u64(o.DictPtr), dictAt: obj + uint64(o.DictPtr)}
	if t.Flags&uint64(r.off.Type.FlagInlineValues) == 0 {
		return a, nil
	}
	values := obj + uint64(t.BasicSize)
	head, err := r.bytes("inline values", values, r.off.Values.Valid+1)
	if err != nil {
		return attrs{}, err
	}
	if head[r.off.Values.Valid] == 1 {
		a.values, a.keys = values, t.CachedKeys
	}
	return a, nil
}

// dictOffset gives tp_dictoffset, resolved for objects of variable size, whose
// dict pointer is at the end.
func (r *Runtime) dictOffset(obj uint64, t Type) (int, error) {
	switch {
	case t.DictOffset == 0:
		return 0, r.fail(NotFound, "instance dict", obj, t.Name+" has none")
	case t.DictOffset > 0:
		return t.DictOffset, nil
	}
	v, err := r.fields("instance", obj, r.off.Tuple.Size)
	if err != nil {
		return 0, err
	}
	size := v.i64(r.off.Tuple.Size)
	if t.IsInt() {
		digits, _ := r.intSize(uint64(size))
		size = int64(digits)
	}
	n, err := r.length("instance", obj, max(size, -size), r.limits.Items)
	if err != nil {
		return 0, err
	}
	end := (t.BasicSize + n*t.ItemSize + 7) &^ 7
	return end + t.DictOffset, nil
}

// Attrs gives the instance attributes of obj: names (as str objects) and
// values, in the order in which they were set. Slots are not among them.
func (r *Runtime) Attrs(obj uint64) ([]DictItem, error) {
	t, err := r.Type(obj)
	if err != nil {
		return nil, err
	}
	a, err := r.attrsOf(obj, t)
	if err != nil {
		return nil, err
	}
	if a.values == 0 {
		if a.dict == 0 {
			return nil, nil
		}
		return r.Dict(a.dict)
	}
	keys, err := r.sharedKeys(a.keys)
	if err != nil {
		return nil, err
	}
	return r.splitItems(keys, a.values)
}

// sharedKeys gives the entries of a type's shared keys.
func (r *Runtime) sharedKeys(addr uint64) ([]DictItem, error) {
	keys, err := r.keysTable(addr)
	if err != nil {
		return nil, err
	}
	if keys.entries > maxSharedKeys && r.off.Instance.Form != FormDict {
		return nil, r.fail(BadLength, "shared keys", addr, "")
	}
	return keys.items(r)
}

// Attr gives the value of an instance attribute or slot. It runs no code:
// properties and class attributes are NotFound (see TypeAttr).
func (r *Runtime) Attr(obj uint64, name string) (uint64, error) {
	s, err := r.ResolveAttr(obj, name)
	if err != nil {
		return 0, err
	}
	return r.Load(obj, s)
}

// AttrPath follows attributes: AttrPath(engine, "scheduler", "kv_cache_manager").
func (r *Runtime) AttrPath(obj uint64, names ...string) (uint64, error) {
	for _, name := range names {
		next, err := r.Attr(obj, name)
		if err != nil {
			return 0, err
		}
		obj = next
	}
	return obj, nil
}
