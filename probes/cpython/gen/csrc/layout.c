// Prints where one CPython minor version keeps what pmtrace reads.
//
// gen/main.go compiles this once for each version against that version's own
// headers and turns the output into layout_gen.go and opcodes_gen.go. A line
// is `layout FIELD VALUE`, `debug FIELD OFFSET` (where _Py_DebugOffsets holds
// the value of FIELD), `caches OPCODE N` or `deopt OPCODE OPCODE`.
#define Py_BUILD_CORE 1
#define NEED_OPCODE_TABLES 1
#define NEED_OPCODE_METADATA 1
#include <Python.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include "internal/pycore_interp.h"
#include "internal/pycore_runtime.h"
#include "internal/pycore_moduleobject.h"
#include "structmember.h"
#if PY_VERSION_HEX >= 0x030B0000
#include "cpython/code.h"
#include "internal/pycore_frame.h"
#include "internal/pycore_dict.h"
#include "internal/pycore_code.h"
#else
#include "frameobject.h"
#endif
#if PY_VERSION_HEX >= 0x030D0000
#include "internal/pycore_opcode_metadata.h"
#elif PY_VERSION_HEX >= 0x030B0000
#include "internal/pycore_opcode.h"
#endif
#if PY_VERSION_HEX >= 0x030E0000
#include "internal/pycore_interpframe_structs.h"
#include "internal/pycore_instruments.h"
#endif

#define OUT(field, value) printf("layout %s %ld\n", field, (long)(value))
#define AT(field, type, member) OUT(field, offsetof(type, member))
#define DEBUG(field, member) \
	printf("debug %s %ld\n", field, (long)offsetof(_Py_DebugOffsets, member))

// The bit position of a field of PyASCIIObject.state, found by setting it.
#define BITS(field, member)                                   \
	do {                                                  \
		PyASCIIObject u;                              \
		unsigned int raw;                             \
		memset(&u, 0, sizeof u);                      \
		u.state.member = ~0u;                         \
		memcpy(&raw, &u.state, sizeof raw);           \
		OUT(field "Shift", __builtin_ctz(raw));       \
		OUT(field "Mask", raw >> __builtin_ctz(raw)); \
	} while (0)

static void runtime(void)
{
	AT("Runtime.InterpretersHead", _PyRuntimeState, interpreters.head);
	OUT("Interp.Size", sizeof(PyInterpreterState));
	AT("Interp.Next", PyInterpreterState, next);
	AT("Interp.ID", PyInterpreterState, id);
#if PY_VERSION_HEX >= 0x030B0000
	AT("Interp.ThreadsHead", PyInterpreterState, threads.head);
#else
	AT("Interp.ThreadsHead", PyInterpreterState, tstate_head);
#endif
#if PY_VERSION_HEX >= 0x030C0000
	AT("Interp.Modules", PyInterpreterState, imports.modules);
#else
	AT("Interp.Modules", PyInterpreterState, modules);
#endif
	AT("Interp.SysDict", PyInterpreterState, sysdict);
#if PY_VERSION_HEX >= 0x030E0000
	AT("Interp.JIT", PyInterpreterState, jit);
#else
	OUT("Interp.JIT", -1);
#endif
#if PY_VERSION_HEX >= 0x030D0000 && PY_VERSION_HEX < 0x030E0000
	AT("Interp.Optimizer", PyInterpreterState, optimizer);
#else
	OUT("Interp.Optimizer", -1);
#endif
	AT("Thread.Next", PyThreadState, next);
	AT("Thread.Interp", PyThreadState, interp);
	AT("Thread.ThreadID", PyThreadState, thread_id);
#if PY_VERSION_HEX >= 0x030B0000
	AT("Thread.NativeID", PyThreadState, native_thread_id);
#else
	OUT("Thread.NativeID", -1);
#endif
#if PY_VERSION_HEX >= 0x030D0000
	OUT("Thread.CFrame", -1);
	AT("Thread.CurrentFrame", PyThreadState, current_frame);
	OUT("CFrame.CurrentFrame", -1);
#elif PY_VERSION_HEX < 0x030B0000
	OUT("Thread.CFrame", -1);
	AT("Thread.CurrentFrame", PyThreadState, frame);
	OUT("CFrame.CurrentFrame", -1);
#else
	AT("Thread.CFrame", PyThreadState, cframe);
	OUT("Thread.CurrentFrame", -1);
	AT("CFrame.CurrentFrame", _PyCFrame, current_frame);
#endif
}

#if PY_VERSION_HEX < 0x030B0000
static void frame(void)
{
	typedef PyFrameObject F;
	AT("Frame.Code", F, f_code);
	AT("Frame.Instr", F, f_lasti);
	OUT("Frame.InstrIsIndex", 1);
	OUT("Frame.InstrIsPrevious", 0);
	OUT("Frame.Func", -1);
	AT("Frame.Globals", F, f_globals);
	AT("Frame.Locals", F, f_locals);
	AT("Frame.Previous", F, f_back);
	OUT("Frame.StackTop", -1);
	OUT("Frame.StackPointer", -1);
	OUT("Frame.RefMask", 0);
	OUT("Frame.OwnerShim", -1);
	OUT("Frame.OwnerGenerator", -1);
	OUT("Frame.Owner", -1);
	AT("Frame.Localsplus", F, f_localsplus);
}

static void code(void)
{
	typedef PyCodeObject C;
	AT("Code.Bytes", C, co_code);
	AT("Code.Flags", C, co_flags);
	AT("Code.ArgCount", C, co_argcount);
	AT("Code.KeywordOnly", C, co_kwonlyargcount);
	AT("Code.FirstLine", C, co_firstlineno);
	AT("Code.LocalNames", C, co_varnames);
	AT("Code.CellNames", C, co_cellvars);
	AT("Code.FreeNames", C, co_freevars);
	AT("Code.Filename", C, co_filename);
	AT("Code.Name", C, co_name);
	AT("Code.LineTable", C, co_linetable);
	AT("Code.Consts", C, co_consts);
	AT("Code.Names", C, co_names);
	OUT("Code.Units", -1);
	OUT("Code.Nlocalsplus", -1);
	OUT("Code.LocalKinds", -1);
	OUT("Code.Qualname", -1);
	OUT("Code.FirstTraceable", -1);
	OUT("Code.Adaptive", -1);
	OUT("Code.Warmup", -1);
	OUT("Code.Monitoring", -1);
	OUT("Monitoring.Lines", -1);
	OUT("Monitoring.PerInstruction", -1);
	OUT("Monitoring.LinesHaveWidth", 0);
}
#else
static void frame(void)
{
	OUT("Frame.InstrIsIndex", 0);
	typedef _PyInterpreterFrame F;
#if PY_VERSION_HEX >= 0x030D0000
	AT("Frame.Code", F, f_executable);
	AT("Frame.Instr", F, instr_ptr);
	OUT("Frame.InstrIsPrevious", 0);
#elif PY_VERSION_HEX >= 0x030C0000
	AT("Frame.Code", F, f_code);
	AT("Frame.Instr", F, prev_instr);
	OUT("Frame.InstrIsPrevious", 1);
#else
	AT("Frame.Code", F, f_code);
	AT("Frame.Instr", F, prev_instr);
	OUT("Frame.InstrIsPrevious", 1);
#endif
#if PY_VERSION_HEX >= 0x030C0000
	AT("Frame.Func", F, f_funcobj);
#else
	AT("Frame.Func", F, f_func);
#endif
	AT("Frame.Globals", F, f_globals);
	AT("Frame.Locals", F, f_locals);
	AT("Frame.Previous", F, previous);
#if PY_VERSION_HEX >= 0x030E0000
	OUT("Frame.StackTop", -1);
	AT("Frame.StackPointer", F, stackpointer);
	OUT("Frame.RefMask", 3);
	OUT("Frame.OwnerShim", FRAME_OWNED_BY_INTERPRETER);
#else
	AT("Frame.StackTop", F, stacktop);
	OUT("Frame.StackPointer", -1);
	OUT("Frame.RefMask", 0);
#if PY_VERSION_HEX >= 0x030C0000
	OUT("Frame.OwnerShim", FRAME_OWNED_BY_CSTACK);
#else
	OUT("Frame.OwnerShim", 3); // no such owner: 3.11 has no shim frames
#endif
#endif
	OUT("Frame.OwnerGenerator", FRAME_OWNED_BY_GENERATOR);
	AT("Frame.Owner", F, owner);
	AT("Frame.Localsplus", F, localsplus);
}

static void code(void)
{
	typedef PyCodeObject C;
	OUT("Code.Bytes", -1);
	OUT("Code.CellNames", -1);
	OUT("Code.FreeNames", -1);
	AT("Code.Units", PyVarObject, ob_size);
	AT("Code.Flags", C, co_flags);
	AT("Code.ArgCount", C, co_argcount);
	AT("Code.KeywordOnly", C, co_kwonlyargcount);
	AT("Code.FirstLine", C, co_firstlineno);
	AT("Code.Nlocalsplus", C, co_nlocalsplus);
	AT("Code.LocalNames", C, co_localsplusnames);
	AT("Code.LocalKinds", C, co_localspluskinds);
	AT("Code.Filename", C, co_filename);
	AT("Code.Name", C, co_name);
	AT("Code.Qualname", C, co_qualname);
	AT("Code.LineTable", C, co_linetable);
	AT("Code.Consts", C, co_consts);
	AT("Code.Names", C, co_names);
	AT("Code.FirstTraceable", C, _co_firsttraceable);
	AT("Code.Adaptive", C, co_code_adaptive);
#if PY_VERSION_HEX >= 0x030C0000
	AT("Code.Monitoring", C, _co_monitoring);
	AT("Monitoring.Lines", _PyCoMonitoringData, lines);
	AT("Monitoring.PerInstruction", _PyCoMonitoringData, per_instruction_opcodes);
	OUT("Code.Warmup", -1);
#else
	AT("Code.Warmup", C, co_warmup);
	OUT("Code.Monitoring", -1);
	OUT("Monitoring.Lines", -1);
	OUT("Monitoring.PerInstruction", -1);
#endif
	// 3.13.0 has it not, 3.13.5 has: the reader tries both.
	OUT("Monitoring.LinesHaveWidth", PY_VERSION_HEX >= 0x030D0000);
}
#endif

static void types(void)
{
	AT("Object.Type", PyObject, ob_type);
	AT("Type.Name", PyTypeObject, tp_name);
	AT("Type.BasicSize", PyTypeObject, tp_basicsize);
	AT("Type.ItemSize", PyTypeObject, tp_itemsize);
	AT("Type.Flags", PyTypeObject, tp_flags);
	AT("Type.Base", PyTypeObject, tp_base);
	AT("Type.Dict", PyTypeObject, tp_dict);
	AT("Type.MRO", PyTypeObject, tp_mro);
	AT("Type.DictOffset", PyTypeObject, tp_dictoffset);
	AT("Type.CachedKeys", PyHeapTypeObject, ht_cached_keys);
	OUT("Type.Size", sizeof(PyHeapTypeObject));
#if PY_VERSION_HEX >= 0x030B0000
	OUT("Type.FlagManagedDict", Py_TPFLAGS_MANAGED_DICT);
#else
	OUT("Type.FlagManagedDict", 0);
#endif
#if PY_VERSION_HEX >= 0x030D0000
	OUT("Type.FlagInlineValues", Py_TPFLAGS_INLINE_VALUES);
#else
	OUT("Type.FlagInlineValues", 0);
#endif
}

static void numbersAndText(void)
{
#if PY_VERSION_HEX >= 0x030C0000
	AT("Int.Tag", PyLongObject, long_value.lv_tag);
	AT("Int.Digits", PyLongObject, long_value.ob_digit);
	OUT("Int.TagIsSize", 0);
#else
	AT("Int.Tag", PyVarObject, ob_size);
	AT("Int.Digits", PyLongObject, ob_digit);
	OUT("Int.TagIsSize", 1);
#endif
	AT("Float.Value", PyFloatObject, ob_fval);
	AT("Str.Length", PyASCIIObject, length);
	AT("Str.Hash", PyASCIIObject, hash);
	AT("Str.State", PyASCIIObject, state);
	BITS("Str.Kind", kind);
	BITS("Str.Compact", compact);
	BITS("Str.ASCII", ascii);
	OUT("Str.ASCIIData", sizeof(PyASCIIObject));
	OUT("Str.CompactData", sizeof(PyCompactUnicodeObject));
	AT("Str.LegacyData", PyUnicodeObject, data);
	AT("Bytes.Size", PyVarObject, ob_size);
	AT("Bytes.Data", PyBytesObject, ob_sval);
}

static void containers(void)
{
	AT("List.Size", PyVarObject, ob_size);
	AT("List.Items", PyListObject, ob_item);
	AT("Tuple.Size", PyVarObject, ob_size);
	AT("Tuple.Items", PyTupleObject, ob_item);
	AT("Set.Used", PySetObject, used);
	AT("Set.Mask", PySetObject, mask);
	AT("Set.Table", PySetObject, table);
	OUT("Set.EntrySize", sizeof(setentry));
	AT("Set.EntryKey", setentry, key);
	AT("Set.EntryHash", setentry, hash);
	AT("Dict.Used", PyDictObject, ma_used);
	AT("Dict.Keys", PyDictObject, ma_keys);
	AT("Dict.Values", PyDictObject, ma_values);
#if PY_VERSION_HEX < 0x030B0000
	// Objects/dict-common.h, which is not installed: struct _dictkeysobject of 3.10. An
	// entry is hash, key and value; the indices are of 1, 2, 4 or 8 bytes by the size.
	OUT("Keys.Size", 8);
	OUT("Keys.Entries", 32);
	OUT("Keys.Indices", 40);
	OUT("Keys.Log2Size", -1);
	OUT("Keys.Log2IndexBytes", -1);
	OUT("Keys.Kind", -1);
	OUT("Keys.KindGeneral", 0);
	OUT("Keys.KindUnicode", 1);
	OUT("Keys.KindSplit", 2);
	OUT("Keys.GeneralEntrySize", 24);
	OUT("Keys.GeneralEntryKey", 8);
	OUT("Keys.GeneralEntryValue", 16);
	OUT("Keys.UnicodeEntrySize", 24);
	OUT("Keys.UnicodeEntryKey", 8);
	OUT("Keys.UnicodeEntryValue", 16);
#else
	OUT("Keys.Size", -1);
	AT("Keys.Log2Size", PyDictKeysObject, dk_log2_size);
	AT("Keys.Log2IndexBytes", PyDictKeysObject, dk_log2_index_bytes);
	AT("Keys.Kind", PyDictKeysObject, dk_kind);
	AT("Keys.Entries", PyDictKeysObject, dk_nentries);
	AT("Keys.Indices", PyDictKeysObject, dk_indices);
	OUT("Keys.KindGeneral", DICT_KEYS_GENERAL);
	OUT("Keys.KindUnicode", DICT_KEYS_UNICODE);
	OUT("Keys.KindSplit", DICT_KEYS_SPLIT);
	OUT("Keys.GeneralEntrySize", sizeof(PyDictKeyEntry));
	AT("Keys.GeneralEntryKey", PyDictKeyEntry, me_key);
	AT("Keys.GeneralEntryValue", PyDictKeyEntry, me_value);
	OUT("Keys.UnicodeEntrySize", sizeof(PyDictUnicodeEntry));
	AT("Keys.UnicodeEntryKey", PyDictUnicodeEntry, me_key);
	AT("Keys.UnicodeEntryValue", PyDictUnicodeEntry, me_value);
#endif
	// Modules/_collectionsmodule.c, no header: the same in 3.10 to 3.14.
	AT("Deque.Size", PyVarObject, ob_size);
	OUT("Deque.LeftBlock", 24);
	OUT("Deque.LeftIndex", 40);
	OUT("Deque.BlockLeft", 0);
	OUT("Deque.BlockData", 8);
	OUT("Deque.BlockRight", 8 + 64 * 8);
	OUT("Deque.BlockItems", 64);
}

static void instances(void)
{
#if PY_VERSION_HEX < 0x030B0000
	OUT("Instance.Form", 3);
	OUT("Instance.DictPtr", 0);
	OUT("Instance.ValuesPtr", 0);
	OUT("Values.Capacity", -1);
	OUT("Values.Size", -1);
	OUT("Values.Valid", 0);
	OUT("Values.Items", 0);
#else
	OUT("Instance.DictPtr", -3 * (long)sizeof(void *));
#if PY_VERSION_HEX >= 0x030D0000
	OUT("Instance.ValuesPtr", 0);
	OUT("Instance.Form", 2);
	AT("Values.Capacity", PyDictValues, capacity);
	AT("Values.Size", PyDictValues, size);
	AT("Values.Valid", PyDictValues, valid);
	AT("Values.Items", PyDictValues, values);
#else
#if PY_VERSION_HEX >= 0x030C0000
	OUT("Instance.ValuesPtr", -3 * (long)sizeof(void *));
	OUT("Instance.Form", 1);
#else
	OUT("Instance.ValuesPtr", -4 * (long)sizeof(void *));
	OUT("Instance.Form", 0);
#endif
	OUT("Values.Capacity", -1); // -1 as a byte's offset: values[-1] is the prefix size
	OUT("Values.Size", -2);
	OUT("Values.Valid", 0);
	AT("Values.Items", PyDictValues, values);
#endif
#endif
}

static void callables(void)
{
	AT("Cell.Ref", PyCellObject, ob_ref);
	AT("Func.Globals", PyFunctionObject, func_globals);
	AT("Func.Name", PyFunctionObject, func_name);
	AT("Func.Qualname", PyFunctionObject, func_qualname);
	AT("Func.Code", PyFunctionObject, func_code);
	AT("Func.Closure", PyFunctionObject, func_closure);
	AT("Func.Dict", PyFunctionObject, func_dict);
	AT("Method.Func", PyMethodObject, im_func);
	AT("Method.Self", PyMethodObject, im_self);
	// Objects/funcobject.c and Objects/descrobject.c, no header: the first
	// field after the object's head, the same in 3.10 to 3.14.
	OUT("Wrapper.Callable", sizeof(PyObject));
	OUT("Property.Getter", sizeof(PyObject));
	AT("Member.Def", PyMemberDescrObject, d_member);
	AT("MemberDef.Type", PyMemberDef, type);
	AT("MemberDef.Offset", PyMemberDef, offset);
	AT("Weakref.Target", PyWeakReference, wr_object);
	AT("Module.Dict", PyModuleObject, md_dict);
}

static void debugOffsets(void)
{
#if PY_VERSION_HEX >= 0x030D0000
	DEBUG("Runtime.InterpretersHead", runtime_state.interpreters_head);
	DEBUG("Interp.Size", interpreter_state.size);
	DEBUG("Interp.ID", interpreter_state.id);
	DEBUG("Interp.Next", interpreter_state.next);
	DEBUG("Interp.ThreadsHead", interpreter_state.threads_head);
	DEBUG("Interp.Modules", interpreter_state.imports_modules);
	DEBUG("Interp.SysDict", interpreter_state.sysdict);
	DEBUG("Thread.Next", thread_state.next);
	DEBUG("Thread.Interp", thread_state.interp);
	DEBUG("Thread.CurrentFrame", thread_state.current_frame);
	DEBUG("Thread.ThreadID", thread_state.thread_id);
	DEBUG("Thread.NativeID", thread_state.native_thread_id);
	DEBUG("Frame.Previous", interpreter_frame.previous);
	DEBUG("Frame.Code", interpreter_frame.executable);
	DEBUG("Frame.Instr", interpreter_frame.instr_ptr);
	DEBUG("Frame.Localsplus", interpreter_frame.localsplus);
	DEBUG("Frame.Owner", interpreter_frame.owner);
#if PY_VERSION_HEX >= 0x030E0000
	DEBUG("Frame.StackPointer", interpreter_frame.stackpointer);
	DEBUG("Set.Used", set_object.used);
	DEBUG("Set.Table", set_object.table);
	DEBUG("Set.Mask", set_object.mask);
#endif
	DEBUG("Code.Filename", code_object.filename);
	DEBUG("Code.Name", code_object.name);
	DEBUG("Code.Qualname", code_object.qualname);
	DEBUG("Code.LineTable", code_object.linetable);
	DEBUG("Code.FirstLine", code_object.firstlineno);
	DEBUG("Code.ArgCount", code_object.argcount);
	DEBUG("Code.LocalNames", code_object.localsplusnames);
	DEBUG("Code.LocalKinds", code_object.localspluskinds);
	DEBUG("Code.Adaptive", code_object.co_code_adaptive);
	DEBUG("Object.Type", pyobject.ob_type);
	DEBUG("Type.Name", type_object.tp_name);
	DEBUG("Type.Flags", type_object.tp_flags);
	DEBUG("Tuple.Items", tuple_object.ob_item);
	DEBUG("Tuple.Size", tuple_object.ob_size);
	DEBUG("List.Items", list_object.ob_item);
	DEBUG("List.Size", list_object.ob_size);
	DEBUG("Dict.Keys", dict_object.ma_keys);
	DEBUG("Dict.Values", dict_object.ma_values);
	DEBUG("Float.Value", float_object.ob_fval);
	DEBUG("Int.Tag", long_object.lv_tag);
	DEBUG("Int.Digits", long_object.ob_digit);
	DEBUG("Bytes.Size", bytes_object.ob_size);
	DEBUG("Bytes.Data", bytes_object.ob_sval);
	DEBUG("Str.State", unicode_object.state);
	DEBUG("Str.Length", unicode_object.length);
	DEBUG("Str.ASCIIData", unicode_object.asciiobject_size);
#endif
}

int main(void)
{
	runtime();
	frame();
	code();
	types();
	numbersAndText();
	containers();
	instances();
	callables();
	debugOffsets();
	for (int op = 0; op < 256; op++) {
#if PY_VERSION_HEX >= 0x030B0000
		printf("caches %d %d\n", op, _PyOpcode_Caches[op]);
		printf("deopt %d %d\n", op, _PyOpcode_Deopt[op]);
#endif
	}
	return 0;
}
