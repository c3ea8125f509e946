package cpython

import "fmt"

// StorageKind is how an attribute is stored.
type StorageKind int

const (
	// StorageSlot: a pointer at a fixed offset in the object.
	StorageSlot StorageKind = iota + 1
	// StorageInline: in the object's values, at the index that the type's
	// shared keys give the name. See Offsets.Instance for the way there.
	StorageInline
	// StorageDict: in a combined dict, in the entry at Index of its keys table.
	StorageDict
	// StorageSplit: in the values of a split dict of its own.
	StorageSplit
)

func (k StorageKind) String() string {
	switch k {
	case StorageSlot:
		return "slot"
	case StorageInline:
		return "inline"
	case StorageDict:
		return "dict"
	case StorageSplit:
		return "split"
	}
	return fmt.Sprintf("storage(%d)", int(k))
}

// Storage says how to get from an object of a type to an attribute, so that
// BPF can do so later without looking names up. All offsets are in bytes.
type Storage struct {
	Kind StorageKind
	Name string
	Type uint64 // of the object that it was resolved for

	// Offset is, by Kind: Slot: from the object to the pointer. Inline: from
	// the values pointer to the value; from 3.13 on from the object to the
	// value. Dict: from the keys table to the entry's value. Split: from the
	// values pointer to the value.
	Offset int
	// Index is the place in the shared keys or in the entries.
	Index int
	// ValidOffset is where the object has its valid byte, which must be 1 for
	// the inline value to count (3.13+, else 0).
	ValidOffset int

	// KeyAddr is the str object of the name, as the keys table has it. Compare
	// it before trusting Offset: KeyOffset is where it is in Keys.
	KeyAddr   uint64
	KeyOffset int
	// Keys is the keys table: the type's shared ones or the dict's own, which a
	// dict replaces when it grows.
	Keys uint64
	// DictOffset is from the object to the pointer to its dict (Dict, Split).
	DictOffset int
	// Dict is the dict when it was resolved (Dict, Split).
	Dict uint64
	// EntrySize is that of the keys table's entries: 16 or 24.
	EntrySize int

	// Predicted: no instance existed; Index is that of the dataclass's fields in
	// order. Keys may be 0 and KeyAddr is the field's name.
	Predicted bool
}

// ResolveAttr finds how obj stores the attribute name. NotFound: it does not
// have it (yet).
func (r *Runtime) ResolveAttr(obj uint64, name string) (Storage, error) {
	t, err := r.Type(obj)
	if err != nil {
		return Storage{}, err
	}
	if t.Flags&uint64(r.off.Type.FlagManagedDict) != 0 || t.DictOffset != 0 {
		s, found, err := r.resolveInstance(obj, t, name)
		if err != nil || found {
			return s, err
		}
	}
	return r.resolveSlot(t, name)
}

// ResolveByType is ResolveAttr for a type of which there may be no instance:
// a slot, or what ResolveInlineByType gives.
func (r *Runtime) ResolveByType(typ uint64, name string) (Storage, error) {
	t, err := r.TypeAt(typ)
	if err != nil {
		return Storage{}, err
	}
	if t.Flags&uint64(r.off.Type.FlagManagedDict) != 0 || r.off.Instance.Form == FormDict && t.CachedKeys != 0 && t.DictOffset > 0 {
		s, err := r.ResolveInlineByType(typ, name)
		if reason, ok := ReasonOf(err); err == nil || !ok || reason != NotFound {
			return s, err
		}
	}
	return r.resolveSlot(t, name)
}

func (r *Runtime) resolveInstance(obj uint64, t Type, name string) (Storage, bool, error) {
	a, err := r.attrsOf(obj, t)
	if err != nil {
		return Storage{}, false, err
	}
	if a.values != 0 {
		return r.resolveInline(t, a.keys, name)
	}
	if a.dict == 0 {
		return Storage{}, false, nil
	}
	s, found, err := r.ResolveDictKey(a.dict, name)
	s.Type, s.DictOffset = t.Addr, int(int64(a.dictAt-obj))
	return s, found, err
}

func (r *Runtime) resolveInline(t Type, keysAddr uint64, name string) (Storage, bool, error) {
	keys, err := r.keysTable(keysAddr)
	if err != nil {
		return Storage{}, false, err
	}
	items, err := r.sharedKeys(keysAddr)
	if err != nil {
		return Storage{}, false, err
	}
	i, ok, err := r.findName(keys.addr, items, name)
	if err != nil || !ok {
		return Storage{}, false, err
	}
	s := r.inlineStorage(t, i)
	s.Name, s.KeyAddr, s.Keys = name, items[i].Key, keysAddr
	s.KeyOffset, s.EntrySize = keys.keyOffset(i), keys.entrySize
	return s, true, nil
}

// inlineStorage fills in what follows from the index alone.
func (r *Runtime) inlineStorage(t Type, index int) Storage {
	s := Storage{Kind: StorageInline, Type: t.Addr, Index: index, Offset: r.off.Values.Items + 8*index}
	if r.off.Instance.Form == FormEmbedded {
		s.Offset += t.BasicSize
		s.ValidOffset = t.BasicSize + r.off.Values.Valid
	}
	return s
}

// keyOffset is from the keys table to the key of entry i.
func (k keysTable) keyOffset(i int) int { return int(k.at-k.addr) + i*k.entrySize + k.keyOff }

// ResolveDictKey finds how a dict stores the str key. It is ResolveAttr for a
// module's or function's dict; DictOffset and Type stay 0. false: no such key.
func (r *Runtime) ResolveDictKey(dict uint64, name string) (Storage, bool, error) {
	o := &r.off.Dict
	v, err := r.fields("dict", dict, o.Keys, o.Values)
	if err != nil {
		return Storage{}, false, err
	}
	keys, err := r.keysTable(v.u64(o.Keys))
	if err != nil {
		return Storage{}, false, err
	}
	if keys.entries > r.limits.Names {
		return Storage{}, false, r.fail(Limit, "dict", dict, "")
	}
	items, err := keys.items(r)
	if err != nil {
		return Storage{}, false, err
	}
	i, ok, err := r.findName(keys.addr, items, name)
	if err != nil || !ok {
		return Storage{}, false, err
	}
	s := Storage{
		Kind: StorageDict, Name: name, Dict: dict, Keys: keys.addr, Index: i, EntrySize: keys.entrySize,
		KeyAddr: items[i].Key, KeyOffset: keys.keyOffset(i), Offset: int(keys.at-keys.addr) + i*keys.entrySize + keys.valueOff,
	}
	if v.u64(o.Values) != 0 {
		s.Kind, s.Offset = StorageSplit, r.off.Values.Items+8*i
	}
	return s, true, nil
}

// memberObject and memberObjectEx are T_OBJECT and T_OBJECT_EX, the kinds of
// member that hold an object.
const (
	memberObject   = 6
	memberObjectEx = 16
)

// resolveSlot finds a member descriptor of that name along the MRO.
func (r *Runtime) resolveSlot(t Type, name string) (Storage, error) {
	desc, err := r.TypeAttr(t.Addr, name)
	if err != nil {
		return Storage{}, err
	}
	if _, err := r.wantNamed("slot "+name, desc, "member_descriptor"); err != nil {
		if reason, _ := ReasonOf(err); reason == WrongType {
			return Storage{}, r.fail(NotFound, "attribute", t.Addr, t.Name+"."+name+" is on the class only")
		}
		return Storage{}, err
	}
	def, err := r.u64("member descriptor", desc+uint64(r.off.Member.Def))
	if err != nil {
		return Storage{}, err
	}
	o := &r.off.MemberDef
	v, err := r.fields("member", def, o.Type, o.Offset)
	if err != nil {
		return Storage{}, err
	}
	if kind := v.i32(o.Type); kind != memberObject && kind != memberObjectEx {
		return Storage{}, r.fail(Unsupported, "member", def, fmt.Sprintf("%s.%s is of C type %d", t.Name, name, kind))
	}
	off := v.i64(o.Offset)
	if off < 0 || off > int64(t.BasicSize) {
		return Storage{}, r.fail(BadLength, "member", def, "outside of the object")
	}
	return Storage{Kind: StorageSlot, Name: name, Type: t.Addr, Offset: int(off)}, nil
}

// Load follows s from obj as BPF would, and gives the value. NotFound: the
// object keeps it in another way by now, resolve again. NullPointer: not set.
func (r *Runtime) Load(obj uint64, s Storage) (uint64, error) {
	at, err := r.locate(obj, s)
	if err != nil {
		return 0, err
	}
	v, err := r.u64("attribute", at)
	if err == nil && v == 0 {
		err = r.fail(NullPointer, "attribute", obj, s.Name+" is not set")
	}
	return v, err
}

// Locate gives the address of the pointer to the value: what a data watch on
// the attribute watches. For dicts it moves when the dict grows.
func (r *Runtime) Locate(obj uint64, s Storage) (uint64, error) { return r.locate(obj, s) }

func (r *Runtime) locate(obj uint64, s Storage) (uint64, error) {
	switch s.Kind {
	case StorageSlot:
		return obj + uint64(s.Offset), nil
	case StorageInline:
		return r.locateInline(obj, s)
	}
	dict := s.Dict
	if s.DictOffset != 0 {
		var err error
		if dict, err = r.u64("instance dict", obj+uint64(s.DictOffset)); err != nil {
			return 0, err
		}
	}
	o := &r.off.Dict
	v, err := r.fields("dict", dict, o.Keys, o.Values)
	if err != nil {
		return 0, err
	}
	keys, values := v.u64(o.Keys), v.u64(o.Values)
	key, err := r.u64("dict keys", keys+uint64(s.KeyOffset))
	if err != nil {
		return 0, err
	}
	if key != s.KeyAddr || (values != 0) != (s.Kind == StorageSplit) {
		return 0, r.fail(NotFound, "attribute", obj, s.Name+" is stored otherwise now")
	}
	if s.Kind == StorageSplit {
		return values + uint64(s.Offset), nil
	}
	return keys + uint64(s.Offset), nil
}

func (r *Runtime) locateInline(obj uint64, s Storage) (uint64, error) {
	t, err := r.Type(obj)
	if err != nil {
		return 0, err
	}
	if t.Addr != s.Type {
		return 0, r.fail(WrongType, "attribute", obj, "resolved for another type")
	}
	a, err := r.managedAttrs(obj, t)
	if err != nil {
		return 0, err
	}
	if a.values == 0 {
		return 0, r.fail(NotFound, "attribute", obj, s.Name+" is stored otherwise now")
	}
	if r.off.Instance.Form == FormEmbedded {
		return obj + uint64(s.Offset), nil
	}
	return a.values + uint64(s.Offset), nil
}
