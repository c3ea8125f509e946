package cpython

import (
	"bytes"
	"sync"
)

// Type is a type object.
type Type struct {
	Addr       uint64
	Name       string // tp_name: heap types without, static ones with the module
	Flags      uint64
	BasicSize  int
	ItemSize   int
	DictOffset int
	Base       uint64
	Dict       uint64 // tp_dict; 0 for builtin types since 3.12
	MRO        uint64 // a tuple
	CachedKeys uint64 // the instances' shared keys; 0 for static types and without
}

// The tp_flags bits that are the same in 3.10 to 3.14.
const (
	flagHeapType = 1 << 9
	flagInt      = 1 << 24
	flagList     = 1 << 25
	flagTuple    = 1 << 26
	flagBytes    = 1 << 27
	flagStr      = 1 << 28
	flagDict     = 1 << 29
	flagType     = 1 << 31
)

// IsHeap reports whether the type was made at run time (class statements are).
func (t Type) IsHeap() bool { return t.Flags&flagHeapType != 0 }

// IsType reports whether the instances are types themselves.
func (t Type) IsType() bool { return t.Flags&flagType != 0 }

// IsInt reports int or a subclass (bool, IntEnum …); so do the ones below.
func (t Type) IsInt() bool { return t.Flags&flagInt != 0 }

// IsStr reports str or a subclass.
func (t Type) IsStr() bool { return t.Flags&flagStr != 0 }

// IsList reports list or a subclass.
func (t Type) IsList() bool { return t.Flags&flagList != 0 }

// IsTuple reports tuple or a subclass.
func (t Type) IsTuple() bool { return t.Flags&flagTuple != 0 }

// IsDict reports dict or a subclass.
func (t Type) IsDict() bool { return t.Flags&flagDict != 0 }

// IsBytes reports bytes or a subclass.
func (t Type) IsBytes() bool { return t.Flags&flagBytes != 0 }

// typeCache remembers static types, whose address and kind never change. Heap
// types are not kept: their memory may become another type.
type typeCache struct {
	mu sync.Mutex
	m  map[uint64]Type
}

// maxCachedTypes is above the number of static types of a large process.
const maxCachedTypes = 4096

func newTypeCache() *typeCache { return &typeCache{m: make(map[uint64]Type)} }

func (c *typeCache) get(addr uint64) (Type, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t, ok := c.m[addr]
	return t, ok
}

func (c *typeCache) put(t Type) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.m) < maxCachedTypes {
		c.m[t.Addr] = t
	}
}

// TypeAddr gives the address of obj's type.
func (r *Runtime) TypeAddr(obj uint64) (uint64, error) {
	t, err := r.fields("object", obj, r.off.Object.Type)
	if err != nil {
		return 0, err
	}
	return t.u64(r.off.Object.Type), nil
}

// Type gives the type of obj.
func (r *Runtime) Type(obj uint64) (Type, error) {
	addr, err := r.TypeAddr(obj)
	if err != nil {
		return Type{}, err
	}
	return r.TypeAt(addr)
}

// TypeAt reads the type object at addr.
func (r *Runtime) TypeAt(addr uint64) (Type, error) {
	if t, ok := r.types.get(addr); ok {
		return t, nil
	}
	o := &r.off.Type
	v, err := r.fields("type", addr, o.Name, o.BasicSize, o.ItemSize, o.Flags, o.Base, o.Dict, o.MRO, o.DictOffset)
	if err != nil {
		return Type{}, err
	}
	t := Type{
		Addr: addr, Flags: v.u64(o.Flags), Base: v.u64(o.Base), Dict: v.u64(o.Dict), MRO: v.u64(o.MRO),
		BasicSize: int(v.i64(o.BasicSize)), ItemSize: int(v.i64(o.ItemSize)), DictOffset: int(v.i64(o.DictOffset)),
	}
	if t.BasicSize < 0 || t.BasicSize > maxInstance || t.ItemSize < 0 || t.ItemSize > maxInstance {
		return Type{}, r.fail(WrongType, "type", addr, "not a type: its sizes make no sense")
	}
	if t.Name, err = r.cString("type name", v.u64(o.Name)); err != nil {
		return Type{}, err
	}
	if t.IsHeap() {
		t.CachedKeys, err = r.u64("type", addr+uint64(o.CachedKeys))
		return t, err
	}
	r.types.put(t)
	return t, nil
}

// maxInstance bounds tp_basicsize and tp_itemsize.
const maxInstance = 1 << 24

// maxCString bounds names in C, longer than any qualified type name.
const maxCString = 512

// cString reads to the zero byte. It steps by page, since what follows a
// string may not be mapped.
func (r *Runtime) cString(op string, addr uint64) (string, error) {
	if addr == 0 {
		return "", r.fail(NullPointer, op, addr, "")
	}
	var out []byte
	for len(out) < maxCString {
		n := min(64, pageSize-int(addr%pageSize))
		b, err := r.bytes(op, addr, n)
		if err != nil {
			return "", err
		}
		if end := bytes.IndexByte(b, 0); end >= 0 {
			return string(append(out, b[:end]...)), nil
		}
		out, addr = append(out, b...), addr+uint64(n)
	}
	return "", r.fail(BadLength, op, addr, "no end")
}

// want gives WrongType unless obj's type has the flag.
func (r *Runtime) want(op string, obj uint64, flag uint64) (Type, error) {
	t, err := r.Type(obj)
	if err != nil {
		return t, err
	}
	if t.Flags&flag == 0 {
		return t, r.fail(WrongType, op, obj, "it is a "+t.Name)
	}
	return t, nil
}

// wantNamed gives WrongType unless obj's type has one of the names.
func (r *Runtime) wantNamed(op string, obj uint64, names ...string) (Type, error) {
	t, err := r.Type(obj)
	if err != nil {
		return t, err
	}
	for _, name := range names {
		if t.Name == name {
			return t, nil
		}
	}
	return t, r.fail(WrongType, op, obj, "it is a "+t.Name)
}

// MRO gives the types of the method resolution order, typ first.
func (r *Runtime) MRO(typ Type) ([]uint64, error) {
	if typ.MRO == 0 {
		return []uint64{typ.Addr}, nil
	}
	mro, err := r.tupleItems("mro", typ.MRO, r.limits.MRO)
	if err == nil && (len(mro) == 0 || mro[0] != typ.Addr) {
		err = r.fail(BadLength, "mro", typ.MRO, "does not begin with the type")
	}
	return mro, err
}

// TypeAttr finds name in the dicts of typ's MRO: a function, a descriptor, a
// class attribute. Builtin types keep their dict elsewhere since 3.12 and are
// passed over.
func (r *Runtime) TypeAttr(typ uint64, name string) (uint64, error) {
	t, err := r.TypeAt(typ)
	if err != nil {
		return 0, err
	}
	mro, err := r.MRO(t)
	if err != nil {
		return 0, err
	}
	for _, addr := range mro {
		base, err := r.TypeAt(addr)
		if err != nil {
			return 0, err
		}
		if base.Dict == 0 {
			continue
		}
		v, ok, err := r.lookup(base.Dict, name)
		if err != nil || ok {
			return v, err
		}
	}
	return 0, r.fail(NotFound, "type attribute", typ, t.Name+"."+name)
}
