package probes

import (
	"github.com/pmtrace/pmtrace/bpf"
	"github.com/pmtrace/pmtrace/probes/cpython"
	"github.com/pmtrace/pmtrace/probes/vllm"
)

const (
	noLocal   = 0xffff // PM_NO_LOCAL
	cellLocal = 0x8000 // PM_LOCAL_CELL
	unknown   = 0xffffffff
)

// config tells the programs where everything of an engine is.
func config(e *vllm.Engine) bpf.SchedulerPmEngine {
	c := bpf.SchedulerPmEngine{
		ThreadState: e.ThreadState,
		None:        e.None,
		OutputType:  e.OutputType,
		Counter:     e.Counter,
		Head:        e.Head,
		BlockSize:   uint32(e.Fact().BlockSize),
		FreeBlocks:  unknown,
		Sync:        1,
	}
	c.Py = python(e.Python.Offsets())

	local := localOf
	s := e.Schedule
	c.ScheduleCode = s.Code.Addr
	c.ScheduleReturn = s.Return
	c.ScheduleLocals = uint16(s.Code.Nlocalsplus)
	c.L_self = local(s, "self")
	c.L_output = local(s, "scheduler_output")
	c.L_began = local(s, "scheduled_timestamp")
	c.L_victims = local(s, "preempted_reqs")
	c.L_new = local(s, "scheduled_new_reqs")
	c.L_resumed = local(s, "scheduled_resumed_reqs")

	u := e.Update
	c.UpdateCode = u.Code.Addr
	c.UpdateReturn = u.Return
	c.UpdateResume = u.Entry
	c.UpdateLocals = uint16(u.Code.Nlocalsplus)
	c.L_updateOutput = local(u, "scheduler_output")
	c.L_outputs = local(u, "engine_core_outputs")
	outputs(&c, e)

	copy(c.SoKeys[:], e.OutputNames)
	copy(c.CrdKeys[:], e.CachedNames)
	copy(c.NrdKeys[:], e.NewNames)
	copy(c.ReqKeys[:], e.RequestNames)

	c.Running = attr(e.Running)
	c.Requests = attr(e.Requests)
	c.Heap = attr(e.Heap)
	for i, q := range e.Queues {
		if i == len(c.Queues) {
			break
		}
		c.Queues[i] = attr(q.Storage)
		c.QueueKind[i] = uint32(bpf.SchedulerPmQueuePM_QUEUE_DEQUE)
		if q.Heap {
			c.QueueKind[i] = uint32(bpf.SchedulerPmQueuePM_QUEUE_HEAP)
		}
	}

	changes := map[vllm.Change]bpf.SchedulerPmKvOp{
		vllm.Alloc:     bpf.SchedulerPmKvOpPM_KV_ALLOC,
		vllm.Reuse:     bpf.SchedulerPmKvOpPM_KV_REUSE,
		vllm.Free:      bpf.SchedulerPmKvOpPM_KV_FREE,
		vllm.FreeFront: bpf.SchedulerPmKvOpPM_KV_FREE_FRONT,
	}
	blocks := map[vllm.Blocks]bpf.SchedulerPmOpBlocks{
		vllm.BlocksUnknown: bpf.SchedulerPmOpBlocksPM_OP_NONE,
		vllm.BlocksFront:   bpf.SchedulerPmOpBlocksPM_OP_COUNT,
		vllm.BlocksListed:  bpf.SchedulerPmOpBlocksPM_OP_LIST,
		vllm.BlocksOne:     bpf.SchedulerPmOpBlocksPM_OP_ONE,
	}
	for i, op := range e.QueueOps {
		if i == len(c.Ops) {
			break
		}
		c.Ops[i] = bpf.SchedulerPmOp{Code: op.Code, Op: uint16(changes[op.Change]), Blocks: uint16(blocks[op.Blocks])}
	}
	copy(c.Owners[:], e.Owners)
	blockLayout(&c, e)
	return c
}

// localOf tells a local variable of a watched function.
func localOf(f vllm.Function, name string) uint16 {
	i, cell, ok := f.Local(name)
	switch {
	case !ok || i >= 0x7f:
		return noLocal
	case cell:
		return uint16(i) | cellLocal
	}
	return uint16(i)
}

// maxObject is how much of an object the programs read at once (struct
// scratch, object; of a block half).
const maxObject = 256

// outputs tells the fields of EngineCoreOutput. Where one that rows cannot do
// without is not known, the return of the update is not watched: its events
// would be wrong.
func outputs(c *bpf.SchedulerPmEngine, e *vllm.Engine) {
	end := max(e.OutputID, e.OutputTokens, e.OutputFinish) + 8
	if e.OutputsList == 0 || e.OutputID == 0 || e.OutputTokens == 0 || end > maxObject {
		c.UpdateReturn = 0
		return
	}
	c.OutputsList = uint16(e.OutputsList)
	c.OutId = uint16(e.OutputID)
	c.OutTokens = uint16(e.OutputTokens)
	c.OutFinish = uint16(e.OutputFinish)
	c.OutBytes = uint16(end)
}

// blockLayout tells the fields of KVCacheBlock. Where they are not known, the
// operations are counted without their blocks.
func blockLayout(c *bpf.SchedulerPmEngine, e *vllm.Engine) {
	c.HeadNext = attr(e.BlockNext)
	c.BlockId = attr(e.BlockID)
	c.BlockHash = attr(e.BlockHash)
	end := max(c.HeadNext.At, c.BlockId.At, c.BlockHash.At)
	if c.BlockId.Storage == bpf.SchedulerPmStoragePM_STORED_INLINE {
		end *= 8
	}
	end += 8
	if k := c.BlockId.Storage; k == bpf.SchedulerPmStoragePM_STORED_NOT || c.HeadNext.Storage != k || c.BlockHash.Storage != k || end > maxObject/2 {
		for i := range c.Ops {
			c.Ops[i].Blocks = uint16(bpf.SchedulerPmOpBlocksPM_OP_NONE)
		}
		return
	}
	c.BlockBytes = end
}

// attr tells how to reach one attribute.
func attr(s cpython.Storage) bpf.SchedulerPmAttr {
	a := bpf.SchedulerPmAttr{Key: s.KeyAddr, At: uint32(s.Index)}
	switch s.Kind {
	case cpython.StorageSlot:
		a.Storage = bpf.SchedulerPmStoragePM_STORED_SLOT
		a.At = uint32(s.Offset)
	case cpython.StorageInline, cpython.StorageSplit:
		a.Storage = bpf.SchedulerPmStoragePM_STORED_INLINE
	case cpython.StorageDict:
		a.Storage = bpf.SchedulerPmStoragePM_STORED_DICT
	}
	return a
}

// python tells CPython's layouts.
func python(o cpython.Offsets) bpf.SchedulerPmPython {
	var p bpf.SchedulerPmPython
	if o.Thread.CFrame != cpython.Absent {
		p.Cframe = uint32(o.Thread.CFrame)
		p.CurrentFrame = uint32(o.CFrame.CurrentFrame)
	} else {
		p.CurrentFrame = uint32(o.Thread.CurrentFrame)
	}
	p.FrameCode = uint32(o.Frame.Code)
	p.FramePrevious = uint32(o.Frame.Previous)
	p.FrameInstr = uint32(o.Frame.Instr)
	p.FrameLocals = uint32(o.Frame.Localsplus)
	p.RefMask = ^uint64(o.Frame.RefMask)
	switch o.Instance.Form {
	case cpython.FormValuesPointer:
		p.Values = uint32(bpf.SchedulerPmValuesPM_VALUES_POINTER)
	case cpython.FormTagged:
		p.Values = uint32(bpf.SchedulerPmValuesPM_VALUES_TAGGED)
	case cpython.FormEmbedded:
		p.Values = uint32(bpf.SchedulerPmValuesPM_VALUES_EMBEDDED)
	case cpython.FormDict:
		p.Values = uint32(bpf.SchedulerPmValuesPM_VALUES_DICT)
	}
	p.ValuesFirst = uint32(o.Values.Items)
	p.TypeBasicsize = uint32(o.Type.BasicSize)
	p.TypeCachedKeys = uint32(o.Type.CachedKeys)
	if !o.Int.TagIsSize {
		p.LongTagged = 1
	}
	p.StrDataAscii = uint32(o.Str.ASCIIData)
	p.StrData = uint32(o.Str.CompactData)
	p.StrLength = uint32(o.Str.Length)
	p.StrState = uint32(o.Str.State)
	p.StrKindShift = uint32(o.Str.KindShift)
	p.StrAsciiShift = uint32(o.Str.ASCIIShift)
	p.SetUsed = uint32(o.Set.Used)
	p.SetMask = uint32(o.Set.Mask)
	p.SetTable = uint32(o.Set.Table)
	p.ListItems = uint32(o.List.Items)
	p.FloatValue = uint32(o.Float.Value)
	p.TupleItems = uint32(o.Tuple.Items)
	p.CellRef = uint32(o.Cell.Ref)
	p.TypeDictoffset = uint32(o.Type.DictOffset)
	if o.Code.Bytes != cpython.Absent {
		p.CodeBytes = uint32(o.Code.Bytes)
	}
	return p
}
