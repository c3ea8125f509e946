package vllm

import (
	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/probes/cpython"
)

// Engine is an engine core in another process, with everything resolved that
// the watches need. Addresses are the process's.
type Engine struct {
	PID int
	// Thread is the thread that runs the scheduler: its id here, not in the
	// process's own PID namespace.
	Thread      int
	ThreadState uint64
	Python      *cpython.Runtime

	Schedule Function // Scheduler.schedule
	Update   Function // Scheduler.update_from_output

	// OutputType is the type SchedulerOutput.
	OutputType uint64
	// Addresses of attribute names (str objects), 0 where the version has no such
	// attribute; the order is that of the hook map.
	OutputNames, CachedNames, NewNames, RequestNames []uint64

	Scheduler uint64
	Running   cpython.Storage
	Requests  cpython.Storage
	Queues    []Queue
	Heap      cpython.Storage // PriorityRequestQueue._heap

	// Counter is the address of the pointer to num_free_blocks; 0: none found.
	Counter   uint64
	QueueOps  []QueueOp
	Owners    []uint64 // code objects whose first argument is the Request
	Head      uint64   // the free list's fake head
	BlockNext cpython.Storage
	BlockID   cpython.Storage
	BlockHash cpython.Storage

	// Offsets in EngineCoreOutputs and EngineCoreOutput objects; 0: not known.
	OutputsList, OutputID, OutputTokens, OutputFinish int

	// Routed is where the experts that tokens chose are copied from.
	Routed Routed

	None uint64

	core uint64 // the EngineCore
	fact record.Engine
}

// Function is a watched function; Code.Addr is 0 where it was not found.
type Function struct {
	Code   cpython.Code
	Entry  uint64 // address of the instruction behind its RESUME; 0: not found
	Return uint64 // address of its RETURN_VALUE (of the first, where it has several); 0: not found
}

// Local gives the index of a local variable. cell: it is shared with a nested
// function, and the slot holds a cell.
func (f Function) Local(name string) (index int, cell, ok bool) {
	index, ok = f.Code.LocalIndex(name)
	return index, ok && f.Code.IsCell(index), ok
}

// Queue is one of the scheduler's waiting queues.
type Queue struct {
	Name    string
	Storage cpython.Storage
	Heap    bool // a PriorityRequestQueue, else a deque
}

// QueueOp is a method that changes the free block queue.
type QueueOp struct {
	Name   string
	Code   uint64
	Change Change
	Blocks Blocks
}

// Fact is what the journal keeps of the engine, as it was when it was found.
func (e *Engine) Fact() record.Engine { return e.fact }
