package cpython

import (
	"encoding/hex"
	"errors"
	"slices"
	"strconv"
	"testing"

	"github.com/go-quicktest/qt"
)

// TestKnownObjects reads every object that known.py describes, live and
// through a page cache.
func TestKnownObjects(t *testing.T) {
	forEachInterpreter(t, 10, func(t *testing.T, py interpreter) {
		_, live, tr := known(t, py)
		qt.Check(t, qt.Equals(live.Version().String(), tr.Version))
		if py.needed { // the others are of another micro version than the headers
			qt.Check(t, qt.HasLen(live.Mismatches(), 0))
		}
		for name, r := range map[string]*Runtime{"live": live, "snapshot": live.Snapshot(16384)} {
			t.Run(name, func(t *testing.T) {
				for _, f := range tr.Facts {
					check, ok := checks()[f.Kind]
					qt.Assert(t, qt.IsTrue(ok), qt.Commentf("no check for %s", f.Kind))
					t.Run(f.Label, func(t *testing.T) { check(t, r, f) })
				}
			})
		}
	})
}

func checks() map[string]func(*testing.T, *Runtime, fact) {
	return map[string]func(*testing.T, *Runtime, fact){
		"str": checkStr, "int": checkInt, "bool": checkBool, "float": checkFloat, "bytes": checkBytes, "none": checkNone,
		"list":  pointersCheck((*Runtime).List, (*Runtime).ListLen, false),
		"tuple": pointersCheck((*Runtime).Tuple, nil, false),
		"deque": pointersCheck((*Runtime).Deque, (*Runtime).DequeLen, false),
		"set":   pointersCheck((*Runtime).Set, (*Runtime).SetLen, true),
		"dict":  checkDict, "dictget": checkDictGet, "attrs": checkAttrs, "noattr": checkNoAttr, "attrorder": checkAttrOrder,
		"enum": checkEnum, "weakref": checkWeakref, "weakset": checkWeakset,
		"function": checkFunction, "method": checkMethod, "unwrap": checkUnwrap, "closure": checkClosure, "typeattr": checkTypeAttr,
		"code": checkCode, "unborn": func(*testing.T, *Runtime, fact) {},
	}
}

func checkStr(t *testing.T, r *Runtime, f fact) {
	var want string
	f.into(t, &want)
	got, err := r.Str(f.Addr)
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(got, want))
}

func checkInt(t *testing.T, r *Runtime, f fact) {
	var want string
	f.into(t, &want)
	got, err := r.Int(f.Addr)
	n, perr := strconv.ParseInt(want, 10, 64)
	if perr != nil {
		qt.Check(t, qt.ErrorIs(err, Overflow))
		return
	}
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(got, n))
}

func checkBool(t *testing.T, r *Runtime, f fact) {
	var want bool
	f.into(t, &want)
	got, err := r.Bool(f.Addr)
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(got, want))
}

func checkFloat(t *testing.T, r *Runtime, f fact) {
	var want float64
	f.into(t, &want)
	got, err := r.Float(f.Addr)
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(got, want))
}

func checkBytes(t *testing.T, r *Runtime, f fact) {
	var want string
	f.into(t, &want)
	got, err := r.Bytes(f.Addr)
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(hex.EncodeToString(got), want))
	n, err := r.BytesLen(f.Addr)
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(n, len(want)/2))
}

func checkNone(t *testing.T, r *Runtime, f fact) {
	none, err := r.NoneAddr()
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(none, f.Addr))
	qt.Check(t, qt.IsTrue(r.IsNone(f.Addr)))

	stripped := *r // as from a binary without the symbol
	stripped.img.NoneAddr = 0
	none, err = stripped.NoneAddr()
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(none, f.Addr))
	qt.Check(t, qt.IsTrue(stripped.IsNone(f.Addr)))
}

func pointersCheck(read func(*Runtime, uint64) ([]uint64, error), length func(*Runtime, uint64) (int, error), unordered bool) func(*testing.T, *Runtime, fact) {
	return func(t *testing.T, r *Runtime, f fact) {
		var want []uint64
		f.into(t, &want)
		got, err := read(r, f.Addr)
		qt.Assert(t, qt.IsNil(err))
		if unordered {
			slices.Sort(got)
		}
		qt.Check(t, qt.IsTrue(slices.Equal(got, want)), qt.Commentf("got %d items, want %d", len(got), len(want)))
		if length == nil {
			return
		}
		n, err := length(r, f.Addr)
		qt.Assert(t, qt.IsNil(err))
		qt.Check(t, qt.Equals(n, len(want)))
	}
}

// checkDict takes keys as addresses, or as text where the process cannot know
// them.
func checkDict(t *testing.T, r *Runtime, f fact) {
	var want [][2]any
	f.into(t, &want)
	got, err := r.Dict(f.Addr)
	qt.Assert(t, qt.IsNil(err))
	checkItems(t, r, got, want)
	n, err := r.DictLen(f.Addr)
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(n, len(want)))
}

func checkItems(t *testing.T, r *Runtime, got []DictItem, want [][2]any) {
	t.Helper()
	qt.Assert(t, qt.HasLen(got, len(want)))
	for i, it := range got {
		qt.Assert(t, qt.Equals(float64(it.Value), want[i][1].(float64)))
		if name, ok := want[i][0].(string); ok {
			key, err := r.Str(it.Key)
			qt.Assert(t, qt.IsNil(err))
			qt.Assert(t, qt.Equals(key, name))
			continue
		}
		qt.Assert(t, qt.Equals(float64(it.Key), want[i][0].(float64)))
	}
}

func checkDictGet(t *testing.T, r *Runtime, f fact) {
	var want uint64
	f.into(t, &want)
	got, err := r.DictGet(f.Addr, f.Key)
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(got, want))
	_, err = r.DictGet(f.Addr, f.Key+"?")
	qt.Check(t, qt.ErrorIs(err, NotFound))
}

func checkAttrs(t *testing.T, r *Runtime, f fact) {
	var want map[string]uint64
	f.into(t, &want)
	for name, value := range want {
		got, err := r.Attr(f.Addr, name)
		qt.Assert(t, qt.IsNil(err))
		qt.Assert(t, qt.Equals(got, value))
		s, err := r.ResolveAttr(f.Addr, name)
		qt.Assert(t, qt.IsNil(err))
		if f.Storage != "" {
			qt.Assert(t, qt.Equals(s.Kind.String(), f.Storage))
		}
		got, err = r.Load(f.Addr, s)
		qt.Assert(t, qt.IsNil(err))
		qt.Assert(t, qt.Equals(got, value))
		checkKey(t, r, s, name)
	}
}

// checkKey follows KeyAddr and KeyOffset as BPF does to verify a Storage.
func checkKey(t *testing.T, r *Runtime, s Storage, name string) {
	t.Helper()
	if s.Kind == StorageSlot {
		return
	}
	key, err := r.u64("key", s.Keys+uint64(s.KeyOffset))
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.Equals(key, s.KeyAddr))
	text, err := r.Str(key)
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.Equals(text, name))
}

func checkNoAttr(t *testing.T, r *Runtime, f fact) {
	_, err := r.Attr(f.Addr, f.Key)
	qt.Check(t, qt.IsTrue(errors.Is(err, NotFound) || errors.Is(err, NullPointer)), qt.Commentf("%v", err))
}

func checkAttrOrder(t *testing.T, r *Runtime, f fact) {
	var want [][2]any
	f.into(t, &want)
	got, err := r.Attrs(f.Addr)
	qt.Assert(t, qt.IsNil(err))
	checkItems(t, r, got, want)
}

func checkEnum(t *testing.T, r *Runtime, f fact) {
	var want struct {
		Name  string
		Value uint64
	}
	f.into(t, &want)
	got, err := r.Enum(f.Addr)
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(got, Enum{want.Name, want.Value}))
}

func checkWeakref(t *testing.T, r *Runtime, f fact) {
	var want uint64
	f.into(t, &want)
	got, err := r.Weakref(f.Addr)
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(got, want))
}

func checkWeakset(t *testing.T, r *Runtime, f fact) {
	var want []uint64
	f.into(t, &want)
	refs, err := r.Set(f.Addr)
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.HasLen(refs, len(want)))
	for i, ref := range refs {
		target, err := r.Weakref(ref)
		qt.Assert(t, qt.IsNil(err))
		qt.Check(t, qt.Equals(target, want[i]))
	}
}

func checkFunction(t *testing.T, r *Runtime, f fact) {
	var want uint64
	f.into(t, &want)
	got, err := r.Function(f.Addr)
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(got.Code, want))
}

func checkMethod(t *testing.T, r *Runtime, f fact) {
	var want [2]uint64
	f.into(t, &want)
	self, fn, err := r.Method(f.Addr)
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals([2]uint64{self, fn}, want))
}

func checkUnwrap(t *testing.T, r *Runtime, f fact) {
	var want uint64
	f.into(t, &want)
	got, err := r.Unwrap(f.Addr)
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(got.Code, want))
}

func checkClosure(t *testing.T, r *Runtime, f fact) {
	var want []uint64
	f.into(t, &want)
	fn, err := r.Function(f.Addr)
	qt.Assert(t, qt.IsNil(err))
	inner, err := r.ClosureFunctions(fn)
	qt.Assert(t, qt.IsNil(err))
	var got []uint64
	for _, i := range inner {
		got = append(got, i.Code)
	}
	qt.Check(t, qt.DeepEquals(got, want))
}

func checkTypeAttr(t *testing.T, r *Runtime, f fact) {
	var want uint64
	f.into(t, &want)
	got, err := r.TypeAttr(f.Addr, f.Key)
	if want == 0 {
		qt.Check(t, qt.ErrorIs(err, NotFound))
		return
	}
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(got, want))
}
