package vllm

import (
	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/decode/wire"
	"github.com/pmtrace/pmtrace/probes/cpython"
)

// Worker is a process in which a model runs (with one GPU the engine's own), as
// far as its CUDA calls are concerned: its interpreter, the functions that tell
// what a call is for, and the graphs that its objects hold. All of it may come up
// later: a server being started has threads first, then functions, then graphs.
type Worker struct {
	PID    int
	Python *cpython.Runtime

	interp    uint64
	functions functionCache
	runner    foundRunner
	offset    int // of the cudaGraphExec_t; -1: not known yet
	wrappers  []uint64
}

// PythonThread is a thread with Python frames.
type PythonThread struct {
	TID   int    // here, not in the process's own PID namespace
	State uint64 // its PyThreadState
}

// KnownFunction says what a call under a function is for.
type KnownFunction struct {
	Code  uint64 // address of the code object
	Phase wire.Phase
	// Weak: a call under it is of this phase only if the next known function
	// outwards is of the phase execute (nn.Module's __call__ is the model's forward
	// only right under execute_model); else the outer one counts.
	Weak bool
	// Dummy: calls under it, however deep, are of no step (dummy and profiling
	// runs, capture). Throwaway: graphs captured under it are not kept.
	Dummy, Throwaway bool
	// OutputLocal is the index of the local scheduler_output in execute_model; -1 in
	// all other functions.
	OutputLocal int
	// OutputCell: that local is a cell, and its content is meant (V1's execute_model
	// shares it with a nested function).
	OutputCell bool
	Name       string // for messages: qualified name
}

// Runner is what is known of the process's model runner.
type Runner struct {
	V2     bool
	Module string // its class's
	Rank   *int
}

// FoundGraphs are the graphs in the process's objects.
type FoundGraphs struct {
	Offset int // of the cudaGraphExec_t; -1: no handle to tell by yet
	Graphs []record.Graph
	// Unnamed counts CUDAGraph objects whose descriptor could not be read, by reason.
	Unnamed map[string]int
	// MoELayers are the model's layers with experts, in the order of their execution.
	MoELayers []int32
}
