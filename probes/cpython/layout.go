package cpython

// Offsets says where one CPython version keeps its fields. All numbers are
// bytes from the start of the structure unless a comment says otherwise, and
// Absent where the version has no such field. The values come from the
// version's own headers (gen), and from _Py_DebugOffsets where the process
// publishes it.
type Offsets struct {
	Minor      int
	Runtime    RuntimeOffsets
	Interp     InterpOffsets
	Thread     ThreadOffsets
	CFrame     CFrameOffsets
	Frame      FrameOffsets
	Code       CodeOffsets
	Monitoring MonitoringOffsets
	Object     ObjectOffsets
	Type       TypeOffsets
	Int        IntOffsets
	Float      FloatOffsets
	Str        StrOffsets
	Bytes      BytesOffsets
	List       ListOffsets
	Tuple      TupleOffsets
	Set        SetOffsets
	Dict       DictOffsets
	Keys       KeysOffsets
	Deque      DequeOffsets
	Instance   InstanceOffsets
	Values     ValuesOffsets
	Cell       CellOffsets
	Func       FuncOffsets
	Method     MethodOffsets
	Wrapper    WrapperOffsets
	Property   PropertyOffsets
	Member     MemberOffsets
	MemberDef  MemberDefOffsets
	Weakref    WeakrefOffsets
	Module     ModuleOffsets
}

// Absent is the offset of a field that the version does not have.
const Absent = -1

// RuntimeOffsets is _PyRuntimeState.
type RuntimeOffsets struct{ InterpretersHead int }

// InterpOffsets is PyInterpreterState. JIT is the 3.14 flag (one byte),
// Optimizer the 3.13 pointer.
type InterpOffsets struct{ Size, Next, ID, ThreadsHead, Modules, SysDict, JIT, Optimizer int }

// ThreadOffsets is PyThreadState. The current frame is at CurrentFrame, or, in
// 3.11 and 3.12, behind the pointer at CFrame. 3.10 has no NativeID.
type ThreadOffsets struct{ Next, Interp, ThreadID, NativeID, CFrame, CurrentFrame int }

// CFrameOffsets is _PyCFrame, 3.11 and 3.12.
type CFrameOffsets struct{ CurrentFrame int }

// FrameOffsets is _PyInterpreterFrame; of 3.10 it is PyFrameObject, which has no
// Func and no Owner.
type FrameOffsets struct {
	Code, Func, Globals, Locals, Previous int
	// Instr is the address of the instruction: the last one begun where
	// InstrIsPrevious (3.11 and 3.12), else the current one. InstrIsIndex (3.10): an
	// int32, the index in code units of the one that is fetched now or was last.
	Instr           int
	InstrIsPrevious bool
	InstrIsIndex    bool
	// StackTop (int32, to 3.13) counts the used entries of localsplus;
	// StackPointer (3.14) is the address of the first unused one.
	StackTop, StackPointer int
	// RefMask holds the tag bits of a _PyStackRef: clear them in Code, Func and
	// in every entry of localsplus. 0 to 3.13.
	RefMask int
	// Owner is one byte; OwnerShim and above are frames of the interpreter
	// itself (3.12+), which hold no Python code.
	Owner, OwnerShim, OwnerGenerator int
	Localsplus                       int
}

// CodeOffsets is PyCodeObject. Units counts code units of 2 bytes; Adaptive is
// where they begin. Monitoring is absent in 3.11. In 3.10 the code units are in the
// bytes object at Bytes, LocalNames are without cells and free variables, and there
// is no qualified name.
type CodeOffsets struct {
	Units, Flags, ArgCount, FirstLine, Nlocalsplus   int
	LocalNames, LocalKinds, Filename, Name, Qualname int
	LineTable, Consts, Names, FirstTraceable         int
	KeywordOnly, Monitoring, Adaptive                int
	Bytes, CellNames, FreeNames                      int
	Warmup                                           int // 3.11: an int16, 0 once the code was quickened
}

// MonitoringOffsets is _PyCoMonitoringData, which keeps the opcodes that
// INSTRUMENTED_LINE and INSTRUMENTED_INSTRUCTION replaced. LinesHaveWidth: the
// lines begin with a byte that says how many bytes an entry has (3.14), else
// an entry has two.
type MonitoringOffsets struct {
	Lines, PerInstruction int
	LinesHaveWidth        bool
}

// ObjectOffsets is PyObject.
type ObjectOffsets struct{ Type int }

// TypeOffsets is PyTypeObject and PyHeapTypeObject (CachedKeys).
type TypeOffsets struct {
	Name, BasicSize, ItemSize, Flags, Base, Dict, MRO, DictOffset int
	CachedKeys                                                    int
	Size                                                          int // of a PyHeapTypeObject
	FlagManagedDict                                               int
	FlagInlineValues                                              int // 0 before 3.13
}

// IntOffsets is PyLongObject: 30-bit digits, least first. To 3.11 Tag is a
// signed count of digits (TagIsSize); after that sign = Tag & 3 (0 plus, 1
// zero, 2 minus) and digits = Tag >> 3.
type IntOffsets struct {
	Tag, Digits int
	TagIsSize   bool
}

// FloatOffsets is PyFloatObject.
type FloatOffsets struct{ Value int }

// StrOffsets is PyASCIIObject and what follows it. State is 4 bytes with bit
// fields: kind = State >> KindShift & KindMask is 1, 2 or 4 bytes a character.
// The characters are at ASCIIData if ascii and compact, at CompactData if
// compact, else (instances of subclasses) behind the pointer at LegacyData.
type StrOffsets struct {
	Length, Hash, State                int
	KindShift, KindMask                int
	CompactShift, CompactMask          int
	ASCIIShift, ASCIIMask              int
	ASCIIData, CompactData, LegacyData int
}

// BytesOffsets is PyBytesObject.
type BytesOffsets struct{ Size, Data int }

// ListOffsets is PyListObject; Items is a pointer to the array.
type ListOffsets struct{ Size, Items int }

// TupleOffsets is PyTupleObject; Items is the array itself.
type TupleOffsets struct{ Size, Items int }

// SetOffsets is PySetObject (set and frozenset). Table has Mask+1 entries;
// unused ones have a null key, deleted ones the hash -1.
type SetOffsets struct{ Used, Mask, Table, EntrySize, EntryKey, EntryHash int }

// DictOffsets is PyDictObject. A dict is split where Values is not null.
type DictOffsets struct{ Used, Keys, Values int }

// KeysOffsets is PyDictKeysObject. Entries counts the entries, deleted ones
// included; they begin at Indices + (1 << byte at Log2IndexBytes). 3.10 has Size
// instead, of 8 bytes, and no Kind: its entries are all general.
type KeysOffsets struct {
	Size                                                 int
	Log2Size, Log2IndexBytes, Kind, Entries, Indices     int
	KindGeneral, KindUnicode, KindSplit                  int
	GeneralEntrySize, GeneralEntryKey, GeneralEntryValue int
	UnicodeEntrySize, UnicodeEntryKey, UnicodeEntryValue int
}

// DequeOffsets is dequeobject and its blocks of BlockItems pointers.
type DequeOffsets struct {
	Size, LeftBlock, LeftIndex                   int
	BlockLeft, BlockData, BlockRight, BlockItems int
}

// InstanceForm is how a version keeps the attributes of an object whose type
// has FlagManagedDict.
type InstanceForm int

const (
	// FormValuesPointer (3.11): a values pointer at ValuesPtr and a dict
	// pointer at DictPtr, one of them null.
	FormValuesPointer InstanceForm = iota
	// FormTagged (3.12): one word at DictPtr; with its low bit set it is the
	// values pointer minus 1, else the dict pointer.
	FormTagged
	// FormEmbedded (3.13+): where the type has FlagInlineValues and the byte at
	// BasicSize + Values.Valid is 1, the values are in the object, at BasicSize
	// + Values.Items; else the dict pointer at DictPtr holds them.
	FormEmbedded
	// FormDict (3.10): a dict at Type.DictOffset, as other types have it in later
	// versions. Those of a class's instances mostly share their keys.
	FormDict
)

// InstanceOffsets is where the attributes hang on an object; both offsets are
// negative, before the object's head.
type InstanceOffsets struct {
	Form               InstanceForm
	DictPtr, ValuesPtr int
}

// ValuesOffsets is PyDictValues. To 3.12 Size (one byte) is before the values
// and Capacity is the byte before them, of another meaning: do not use it.
type ValuesOffsets struct{ Capacity, Size, Valid, Items int }

// CellOffsets is PyCellObject.
type CellOffsets struct{ Ref int }

// FuncOffsets is PyFunctionObject.
type FuncOffsets struct{ Globals, Name, Qualname, Code, Closure, Dict int }

// MethodOffsets is PyMethodObject.
type MethodOffsets struct{ Func, Self int }

// WrapperOffsets is classmethod and staticmethod.
type WrapperOffsets struct{ Callable int }

// PropertyOffsets is propertyobject.
type PropertyOffsets struct{ Getter int }

// MemberOffsets is PyMemberDescrObject, what a name in __slots__ becomes.
type MemberOffsets struct{ Def int }

// MemberDefOffsets is PyMemberDef.
type MemberDefOffsets struct{ Type, Offset int }

// WeakrefOffsets is PyWeakReference.
type WeakrefOffsets struct{ Target int }

// ModuleOffsets is PyModuleObject.
type ModuleOffsets struct{ Dict int }

// LayoutOf gives the offsets of a minor version as its headers have them.
// false: there is no table for it.
func LayoutOf(minor int) (Offsets, bool) {
	switch minor {
	case 10:
		return layout310(), true
	case 11:
		return layout311(), true
	case 12:
		return layout312(), true
	case 13:
		return layout313(), true
	case 14:
		return layout314(), true
	}
	return Offsets{}, false
}
