package cpython

// ResolveInlineByType finds how instances of typ store an attribute, from the
// shared keys, or, where no instance has set it yet, by the order of the
// dataclass fields (Predicted).
func (r *Runtime) ResolveInlineByType(typ uint64, name string) (Storage, error) {
	t, err := r.TypeAt(typ)
	if err != nil {
		return Storage{}, err
	}
	if t.CachedKeys == 0 {
		return Storage{}, r.fail(NotFound, "shared keys", typ, t.Name+" has none")
	}
	s, found, err := r.resolveInline(t, t.CachedKeys, name)
	if r.off.Instance.Form == FormDict {
		return r.resolveSplit(t, s, found, err)
	}
	if err != nil || found {
		return s, err
	}
	return r.predictInline(t, name)
}

// resolveSplit makes what was found in the shared keys of a class of 3.10 the way to it
// through an instance's dict. Nothing is predicted: a class's first instance makes the
// keys anew as it gets its attributes.
func (r *Runtime) resolveSplit(t Type, s Storage, found bool, err error) (Storage, error) {
	if err == nil && (!found || t.DictOffset <= 0) {
		err = r.fail(NotFound, "attribute", t.Addr, t.Name+"."+s.Name)
	}
	s.Kind, s.DictOffset = StorageSplit, t.DictOffset
	return s, err
}

// predictInline puts the fields that the generated __init__ will set, in their
// order, behind the keys that are there.
func (r *Runtime) predictInline(t Type, name string) (Storage, error) {
	items, err := r.sharedKeys(t.CachedKeys)
	if err != nil {
		return Storage{}, err
	}
	known := make(map[string]bool)
	for _, it := range items {
		if s, err := r.Str(it.Key); err == nil {
			known[s] = true
		}
	}
	fields, err := r.dataclassFields(t)
	if err != nil {
		return Storage{}, err
	}
	index := len(items)
	for _, f := range fields {
		if f.name == name {
			if index >= maxSharedKeys {
				return Storage{}, r.fail(Unsupported, "attribute", t.Addr, t.Name+"."+name+" is beyond the shared keys")
			}
			s := r.inlineStorage(t, index)
			s.Name, s.KeyAddr, s.Predicted = name, f.nameAddr, true
			s.Keys, s.EntrySize = t.CachedKeys, r.off.Keys.UnicodeEntrySize
			return s, nil
		}
		if !known[f.name] {
			index++
		}
	}
	return Storage{}, r.fail(NotFound, "attribute", t.Addr, t.Name+"."+name)
}

type dataclassField struct {
	name     string
	nameAddr uint64
}

// dataclassFields gives the fields that instances get, in the order in which
// the generated __init__ sets them.
func (r *Runtime) dataclassFields(t Type) ([]dataclassField, error) {
	dict, err := r.TypeAttr(t.Addr, "__dataclass_fields__")
	if err != nil {
		return nil, err
	}
	items, err := r.Dict(dict)
	if err != nil {
		return nil, err
	}
	if len(items) > r.limits.MRO {
		return nil, r.fail(Limit, "dataclass fields", dict, "")
	}
	var out []dataclassField
	for _, it := range items {
		set, err := r.setByInit(it.Value)
		if err != nil {
			return nil, err
		}
		if !set {
			continue
		}
		name, err := r.Str(it.Key)
		if err != nil {
			return nil, err
		}
		out = append(out, dataclassField{name, it.Key})
	}
	return out, nil
}

// setByInit tells fields from ClassVar and InitVar pseudo-fields, and from
// fields with init=False and no factory, which __init__ leaves alone.
func (r *Runtime) setByInit(field uint64) (bool, error) {
	kind, err := r.AttrPath(field, "_field_type", "name")
	if err != nil {
		return false, err
	}
	if name, err := r.Str(kind); err != nil || name != "_FIELD" {
		return false, err
	}
	init, err := r.Attr(field, "init")
	if err != nil {
		return false, err
	}
	if on, err := r.Bool(init); err != nil || on {
		return on, err
	}
	factory, err := r.Attr(field, "default_factory")
	if err != nil {
		return false, err
	}
	t, err := r.Type(factory)
	return t.Name != "_MISSING_TYPE", err
}
