package cpython

import "encoding/binary"

// DictItem is one entry of a dict. Index is its place among the entries of the
// keys table (combined) or of the values (split), deleted ones counted.
type DictItem struct {
	Key, Value uint64
	Index      int
}

// keysTable is a PyDictKeysObject with where its entries are.
type keysTable struct {
	addr                        uint64
	kind                        int
	entries                     int
	at                          uint64 // of the first entry
	entrySize, keyOff, valueOff int
}

// maxLog2IndexBytes would be an index of 1 TiB.
const maxLog2IndexBytes = 40

func (r *Runtime) keysTable(addr uint64) (keysTable, error) {
	o := &r.off.Keys
	if o.Size != Absent {
		return r.keysTable310(addr)
	}
	k := keysTable{addr: addr}
	v, err := r.fields("dict keys", addr, o.Log2Size, o.Log2IndexBytes, o.Kind, o.Entries)
	if err != nil {
		return k, err
	}
	k.kind = int(v.u8(o.Kind))
	switch k.kind {
	case o.KindGeneral:
		k.entrySize, k.keyOff, k.valueOff = o.GeneralEntrySize, o.GeneralEntryKey, o.GeneralEntryValue
	case o.KindUnicode, o.KindSplit:
		k.entrySize, k.keyOff, k.valueOff = o.UnicodeEntrySize, o.UnicodeEntryKey, o.UnicodeEntryValue
	default:
		return k, r.fail(Unsupported, "dict keys", addr, "unknown kind of keys")
	}
	size, index := v.u8(o.Log2Size), v.u8(o.Log2IndexBytes)
	if size > maxLog2IndexBytes || index > maxLog2IndexBytes || v.i64(o.Entries) > 1<<size {
		return k, r.fail(BadLength, "dict keys", addr, "")
	}
	k.entries, err = r.length("dict keys", addr, v.i64(o.Entries), r.limits.Items)
	k.at = addr + uint64(o.Indices) + 1<<index
	return k, err
}

// keysTable310 is keysTable for 3.10.
func (r *Runtime) keysTable310(addr uint64) (keysTable, error) {
	o := &r.off.Keys
	k := keysTable{addr: addr, kind: o.KindGeneral, entrySize: o.GeneralEntrySize, keyOff: o.GeneralEntryKey, valueOff: o.GeneralEntryValue}
	v, err := r.fields("dict keys", addr, o.Size, o.Entries)
	if err != nil {
		return k, err
	}
	size := v.u64(o.Size)
	if size == 0 || size&(size-1) != 0 || size > 1<<maxLog2IndexBytes || v.u64(o.Entries) > size {
		return k, r.fail(BadLength, "dict keys", addr, "")
	}
	width := uint64(1)
	for width < 8 && size >= 1<<(8*width) {
		width *= 2
	}
	k.entries, err = r.length("dict keys", addr, v.i64(o.Entries), r.limits.Items)
	k.at = addr + uint64(o.Indices) + size*width
	return k, err
}

// items reads the table's entries, empty and deleted ones included.
func (k keysTable) items(r *Runtime) ([]DictItem, error) {
	if k.entries == 0 {
		return nil, nil
	}
	b, err := r.bytes("dict entries", k.at, k.entries*k.entrySize)
	if err != nil {
		return nil, err
	}
	out := make([]DictItem, k.entries)
	for i := range out {
		e := b[i*k.entrySize:]
		out[i] = DictItem{binary.LittleEndian.Uint64(e[k.keyOff:]), binary.LittleEndian.Uint64(e[k.valueOff:]), i}
	}
	return out, nil
}

// DictLen gives the number of entries of a dict or of a subclass.
func (r *Runtime) DictLen(obj uint64) (int, error) {
	if _, err := r.want("dict", obj, flagDict); err != nil {
		return 0, err
	}
	v, err := r.fields("dict", obj, r.off.Dict.Used)
	if err != nil {
		return 0, err
	}
	return r.length("dict", obj, v.i64(r.off.Dict.Used), r.limits.Items)
}

// Dict gives the entries of a dict, or of a subclass (defaultdict, OrderedDict
// …), in the order of insertion.
func (r *Runtime) Dict(obj uint64) ([]DictItem, error) {
	if _, err := r.want("dict", obj, flagDict); err != nil {
		return nil, err
	}
	return r.dictItems(obj, r.limits.Items)
}

// dictItems is Dict where the type is known, for at most limit entries.
func (r *Runtime) dictItems(obj uint64, limit int) ([]DictItem, error) {
	o := &r.off.Dict
	v, err := r.fields("dict", obj, o.Keys, o.Values)
	if err != nil {
		return nil, err
	}
	keys, err := r.keysTable(v.u64(o.Keys))
	if err != nil {
		return nil, err
	}
	if keys.entries > limit {
		return nil, r.fail(Limit, "dict", obj, "")
	}
	items, err := keys.items(r)
	if err != nil {
		return nil, err
	}
	if values := v.u64(o.Values); values != 0 {
		return r.splitItems(items, values)
	}
	out := items[:0]
	for _, it := range items {
		if it.Key != 0 && it.Value != 0 {
			out = append(out, it)
		}
	}
	return out, nil
}

// splitItems takes the keys from items and the values from a PyDictValues, in
// the order in which this instance set them.
func (r *Runtime) splitItems(items []DictItem, values uint64) ([]DictItem, error) {
	vals, order, err := r.values(values, len(items))
	if err != nil {
		return nil, err
	}
	out := make([]DictItem, 0, len(order))
	for _, i := range order {
		if i < len(vals) && vals[i] != 0 && items[i].Key != 0 {
			out = append(out, DictItem{items[i].Key, vals[i], i})
		}
	}
	return out, nil
}

// maxSharedKeys is CPython's SHARED_KEYS_MAX_SIZE.
const maxSharedKeys = 30

// values reads a PyDictValues: the values of the first n shared keys and the
// indices in order of insertion.
func (r *Runtime) values(addr uint64, n int) (vals []uint64, order []int, err error) {
	o := &r.off.Values
	if r.off.Instance.Form == FormDict {
		return r.values310(addr, n)
	}
	if n > maxSharedKeys {
		return nil, nil, r.fail(BadLength, "dict values", addr, "more than 30 shared keys")
	}
	capacity, size := n, 0
	if o.Size < 0 { // to 3.12 the size and, backwards, the order come before
		b, err := r.bytes("dict values", addr-uint64(-o.Size)-maxSharedKeys, maxSharedKeys+1)
		if err != nil {
			return nil, nil, err
		}
		size = int(b[maxSharedKeys])
		for i := 0; i < min(size, maxSharedKeys); i++ {
			order = append(order, int(b[maxSharedKeys-1-i]))
		}
	} else {
		v, err := r.fields("dict values", addr, o.Capacity, o.Size)
		if err != nil {
			return nil, nil, err
		}
		capacity, size = int(v.u8(o.Capacity)), int(v.u8(o.Size))
		b, err := r.bytes("dict values", addr+uint64(o.Items+8*capacity), min(size, capacity))
		if err != nil {
			return nil, nil, err
		}
		for _, i := range b {
			order = append(order, int(i))
		}
	}
	if size > maxSharedKeys || n > capacity && o.Size >= 0 && capacity > maxSharedKeys {
		return nil, nil, r.fail(BadLength, "dict values", addr, "")
	}
	vals, err = r.pointers("dict values", addr+uint64(o.Items), min(n, capacity))
	return vals, order, err
}

// values310 is values for 3.10: an array with a place for each key, which instances fill
// in the order of the keys.
func (r *Runtime) values310(addr uint64, n int) (vals []uint64, order []int, err error) {
	vals, err = r.pointers("dict values", addr, n)
	for i := range vals {
		order = append(order, i)
	}
	return vals, order, err
}

// DictGet gives the value of a str key. NotFound: no such key.
func (r *Runtime) DictGet(obj uint64, key string) (uint64, error) {
	if _, err := r.want("dict", obj, flagDict); err != nil {
		return 0, err
	}
	v, ok, err := r.lookup(obj, key)
	if err == nil && !ok {
		err = r.fail(NotFound, "dict key", obj, key)
	}
	return v, err
}

// lookup is DictGet where the type is known and absence is no failure.
func (r *Runtime) lookup(dict uint64, key string) (uint64, bool, error) {
	items, err := r.dictItems(dict, r.limits.Names)
	if err != nil {
		return 0, false, err
	}
	i, ok, err := r.findName(dict, items, key)
	if err != nil || !ok {
		return 0, false, err
	}
	return items[i].Value, true, nil
}

// maxName is longer than any identifier.
const maxName = 4096

// nameBatch is how many keys findName reads in one call.
const nameBatch = 512

// findName looks for the item whose key is the ASCII or other str name. Keys
// that cannot be read are passed over: they do not match. in is named in errors.
func (r *Runtime) findName(in uint64, items []DictItem, name string) (int, bool, error) {
	if len(items) > r.limits.Names || len(name) > maxName {
		return 0, false, r.fail(Limit, "names", in, "too many to search")
	}
	o := &r.off.Str
	width := max(o.ASCIIData+len(name), o.CompactData)
	slab := make([]byte, min(len(items), nameBatch)*width)
	reqs := make([]ReadRequest, 0, min(len(items), nameBatch))
	for at := 0; at < len(items); at += nameBatch {
		batch := items[at:min(at+nameBatch, len(items))]
		reqs = reqs[:0]
		for i, it := range batch {
			reqs = append(reqs, ReadRequest{Addr: it.Key, Buf: slab[i*width : (i+1)*width]})
		}
		ReadMulti(r.mem, reqs)
		for i := range reqs {
			if batch[i].Key != 0 && r.nameIs(&reqs[i], name) {
				return at + i, true, nil
			}
		}
	}
	return 0, false, nil
}

// nameIs compares a str that was read up to the length of name.
func (r *Runtime) nameIs(req *ReadRequest, name string) bool {
	o := &r.off.Str
	if req.Err != nil { // near the end of a mapping: take it alone
		s, err := r.str(req.Addr)
		return err == nil && s == name
	}
	v := view{0, req.Buf}
	state := v.u32(o.State)
	ascii := int(state>>o.ASCIIShift)&o.ASCIIMask != 0 && int(state>>o.CompactShift)&o.CompactMask != 0
	if ascii {
		return v.u64(o.Length) == uint64(len(name)) && string(req.Buf[o.ASCIIData:o.ASCIIData+len(name)]) == name
	}
	if isASCII(name) || v.u64(o.Length) > uint64(len(name)) {
		return false
	}
	s, err := r.Str(req.Addr)
	return err == nil && s == name
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
