package probes

import (
	"slices"

	"github.com/pmtrace/pmtrace/bpf"
	"github.com/pmtrace/pmtrace/decode/wire"
	"github.com/pmtrace/pmtrace/probes/cuda"
)

// Set is a group of rows that are wanted together.
type Set string

// The sets.
const (
	SetGraphs      Set = "graphs"      // capture, instantiate, launch, destroy
	SetTiming      Set = "timing"      // event record and synchronize, stream and device synchronize
	SetPhases      Set = "phases"      // what the phases need besides: asynchronous copies
	SetLaunches    Set = "launches"    // kernel launches
	SetEvents      Set = "events"      // event create, query, destroy, stream wait
	SetMemory      Set = "memory"      // allocations
	SetCollectives Set = "collectives" // NCCL
)

// LeanSets are what the tables on graphs, GPU times and phases come from.
func LeanSets() []Set { return []Set{SetGraphs, SetTiming, SetPhases, SetCollectives} }

// Row is a call that can be probed, in one library.
type Row struct {
	Row     wire.Row
	Name    string // in losses and in record.Worker.Probes
	Library cuda.Kind
	Set     Set
	// Functions that are this call. What a process's library does not have is not
	// probed.
	Functions []Function
	// Returns: the return is probed, too, for a result, a handle or a duration.
	Returns bool
	// OnlyRecorded: the return matters only where calls are recorded one by one.
	OnlyRecorded bool
	// Static: probed only where the process has no libcudart of its own, but one in
	// the program: libcudart's calls reach these.
	Static bool
}

// Function is one of the functions of a row, and where the event's a, b and c are
// among its arguments.
type Function struct {
	Names   []string
	A, B, C Place
}

// Place is where a number is found: bits 0-3 enum pm_place, 4-7 the argument,
// 8-15 an offset (bpf/calls.h).
type Place uint16

func place(kind bpf.CudaPmPlace, n, offset uint16) Place {
	return Place(uint16(kind) | n<<4 | offset<<8)
}

func arg(n uint16) Place         { return place(bpf.CudaPmPlacePM_ARGUMENT, n, 0) }
func arg32(n uint16) Place       { return place(bpf.CudaPmPlacePM_ARGUMENT_32, n, 0) }
func constant(v uint16) Place    { return place(bpf.CudaPmPlacePM_CONSTANT, 0, v) }
func memory(n, off uint16) Place { return place(bpf.CudaPmPlacePM_MEMORY, n, off) }
func pair(n uint16) Place        { return place(bpf.CudaPmPlacePM_PAIR_32, n, 0) }
func product(n uint16) Place     { return place(bpf.CudaPmPlacePM_PRODUCT, n, 0) }
func result(n uint16) Place      { return place(bpf.CudaPmPlacePM_RESULT, n, 0) }
func cookie(r Row, f Function, returns bool) uint64 {
	c := uint64(r.Row) | uint64(f.A)<<8 | uint64(f.B)<<24 | uint64(f.C)<<40
	if returns {
		c |= 1 << 56 // PM_COOKIE_RETURNS
	}
	return c
}

// names gives a function with its variants for per-thread default streams.
func names(names ...string) []string {
	var out []string
	for _, n := range names {
		out = append(out, n, n+"_ptsz")
	}
	return out
}

// cudaMemcpyKind
const (
	hostToDevice   = 1
	deviceToHost   = 2
	deviceToDevice = 3
	copyDefault    = 4
)

// Rows are all calls that can be probed. Signatures are those of CUDA 11 to 13
// (cuda_runtime_api.h, cuda.h) and NCCL 2 (nccl.h).
func Rows() []Row {
	return slices.Concat(runtimeRows(), driverRows(), ncclRows())
}

func runtimeRows() []Row {
	rows := []Row{
		{Row: wire.RowGraphLaunch, Set: SetGraphs, Functions: []Function{{Names: names("cudaGraphLaunch"), A: arg(0), B: arg(1)}}},
		{Row: wire.RowCaptureBegin, Set: SetGraphs, Functions: []Function{
			{Names: names("cudaStreamBeginCapture"), A: arg(0), B: arg32(1)},
			{Names: names("cudaStreamBeginCaptureToGraph"), A: arg(0), B: arg32(5)},
		}},
		{Row: wire.RowCaptureEnd, Set: SetGraphs, Returns: true, Functions: []Function{{Names: names("cudaStreamEndCapture"), A: arg(0), B: result(1)}}},
		{Row: wire.RowGraphInstantiate, Set: SetGraphs, Returns: true, Functions: []Function{
			// To CUDA 11 with an error node and a log in place of the flags.
			{Names: []string{"cudaGraphInstantiate", "cudaGraphInstantiateWithFlags"}, A: result(0), B: arg(1)},
			{Names: names("cudaGraphInstantiateWithParams"), A: result(0), B: arg(1)},
		}},
		{Row: wire.RowGraphUpload, Set: SetGraphs, Functions: []Function{{Names: names("cudaGraphUpload"), A: arg(0), B: arg(1)}}},
		{Row: wire.RowGraphDestroy, Set: SetGraphs, Functions: []Function{{Names: []string{"cudaGraphExecDestroy"}, A: arg(0)}}},

		{Row: wire.RowEventRecord, Set: SetTiming, Functions: []Function{{Names: names("cudaEventRecord", "cudaEventRecordWithFlags"), A: arg(0), B: arg(1)}}},
		{Row: wire.RowEventSync, Set: SetTiming, Returns: true, Functions: []Function{{Names: []string{"cudaEventSynchronize"}, A: arg(0)}}},
		{Row: wire.RowStreamSync, Set: SetTiming, Returns: true, Functions: []Function{{Names: names("cudaStreamSynchronize"), A: arg(0)}}},
		{Row: wire.RowDeviceSync, Set: SetTiming, Returns: true, Functions: []Function{{Names: []string{"cudaDeviceSynchronize"}}}},

		{Row: wire.RowCopy, Set: SetPhases, Functions: []Function{
			{Names: names("cudaMemcpyAsync"), A: arg(2), B: arg32(3), C: arg(4)},
			{Names: names("cudaMemcpy2DAsync"), A: product(4), B: arg32(6), C: arg(7)},
			{Names: names("cudaMemcpyPeerAsync"), A: arg(4), B: constant(deviceToDevice), C: arg(5)},
		}},

		{Row: wire.RowEventCreate, Set: SetEvents, Returns: true, OnlyRecorded: true, Functions: []Function{
			{Names: []string{"cudaEventCreate"}, A: result(0)},
			{Names: []string{"cudaEventCreateWithFlags"}, A: result(0), B: arg32(1)},
		}},
		{Row: wire.RowEventQuery, Set: SetEvents, Returns: true, OnlyRecorded: true, Functions: []Function{{Names: []string{"cudaEventQuery"}, A: arg(0)}}},
		{Row: wire.RowEventDestroy, Set: SetEvents, Functions: []Function{{Names: []string{"cudaEventDestroy"}, A: arg(0)}}},
		{Row: wire.RowStreamWait, Set: SetEvents, Functions: []Function{{Names: names("cudaStreamWaitEvent"), A: arg(0), B: arg(1)}}},

		{Row: wire.RowMalloc, Set: SetMemory, Returns: true, OnlyRecorded: true, Functions: []Function{
			{Names: []string{"cudaMalloc", "cudaMallocManaged"}, A: arg(1), B: result(0)},
		}},
		{Row: wire.RowFree, Set: SetMemory, Functions: []Function{{Names: []string{"cudaFree"}, A: arg(0)}}},
		{Row: wire.RowMallocAsync, Set: SetMemory, Returns: true, OnlyRecorded: true, Functions: []Function{
			{Names: names("cudaMallocAsync"), A: arg(1), B: result(0), C: arg(2)},
			{Names: names("cudaMallocFromPoolAsync"), A: arg(1), B: result(0), C: arg(3)},
		}},
		{Row: wire.RowFreeAsync, Set: SetMemory, Functions: []Function{{Names: names("cudaFreeAsync"), A: arg(0), B: arg(1)}}},
	}
	return in(cuda.Runtime, false, rows)
}

// driverRows are kernel launches, of which libcudart's are only a part, and what
// stands for libcudart's rows where a program has it inside.
func driverRows() []Row {
	launches := []Row{{Row: wire.RowLaunch, Set: SetLaunches, Functions: []Function{
		{Names: names("cuLaunchKernel", "cuLaunchCooperativeKernel"), A: arg(0), B: pair(1), C: arg(8)},
		// CUlaunchConfig: gridDimX at 0, gridDimY at 4, hStream at 32.
		{Names: names("cuLaunchKernelEx"), A: arg(1), B: memory(0, 0), C: memory(0, 32)},
	}}}
	rows := []Row{
		{Row: wire.RowGraphLaunch, Set: SetGraphs, Functions: []Function{{Names: names("cuGraphLaunch"), A: arg(0), B: arg(1)}}},
		{Row: wire.RowCaptureBegin, Set: SetGraphs, Functions: []Function{
			{Names: names("cuStreamBeginCapture"), A: arg(0)},
			{Names: names("cuStreamBeginCapture_v2"), A: arg(0), B: arg32(1)},
			{Names: names("cuStreamBeginCaptureToGraph"), A: arg(0), B: arg32(5)},
		}},
		{Row: wire.RowCaptureEnd, Set: SetGraphs, Returns: true, Functions: []Function{{Names: names("cuStreamEndCapture"), A: arg(0), B: result(1)}}},
		{Row: wire.RowGraphInstantiate, Set: SetGraphs, Returns: true, Functions: []Function{
			{Names: []string{"cuGraphInstantiate", "cuGraphInstantiate_v2", "cuGraphInstantiateWithFlags"}, A: result(0), B: arg(1)},
			{Names: names("cuGraphInstantiateWithParams"), A: result(0), B: arg(1)},
		}},
		{Row: wire.RowGraphUpload, Set: SetGraphs, Functions: []Function{{Names: names("cuGraphUpload"), A: arg(0), B: arg(1)}}},
		{Row: wire.RowGraphDestroy, Set: SetGraphs, Functions: []Function{{Names: []string{"cuGraphExecDestroy"}, A: arg(0)}}},

		{Row: wire.RowEventRecord, Set: SetTiming, Functions: []Function{{Names: names("cuEventRecord", "cuEventRecordWithFlags"), A: arg(0), B: arg(1)}}},
		{Row: wire.RowEventSync, Set: SetTiming, Returns: true, Functions: []Function{{Names: []string{"cuEventSynchronize"}, A: arg(0)}}},
		{Row: wire.RowStreamSync, Set: SetTiming, Returns: true, Functions: []Function{{Names: names("cuStreamSynchronize"), A: arg(0)}}},
		{Row: wire.RowDeviceSync, Set: SetTiming, Returns: true, Functions: []Function{{Names: []string{"cuCtxSynchronize", "cuCtxSynchronize_v2"}}}},

		{Row: wire.RowCopy, Set: SetPhases, Functions: []Function{
			{Names: names("cuMemcpyAsync"), A: arg(2), B: constant(copyDefault), C: arg(3)},
			{Names: names("cuMemcpyHtoDAsync_v2"), A: arg(2), B: constant(hostToDevice), C: arg(3)},
			{Names: names("cuMemcpyDtoHAsync_v2"), A: arg(2), B: constant(deviceToHost), C: arg(3)},
			{Names: names("cuMemcpyDtoDAsync_v2"), A: arg(2), B: constant(deviceToDevice), C: arg(3)},
			{Names: names("cuMemcpyPeerAsync"), A: arg(4), B: constant(deviceToDevice), C: arg(5)},
		}},

		{Row: wire.RowEventCreate, Set: SetEvents, Returns: true, OnlyRecorded: true, Functions: []Function{{Names: []string{"cuEventCreate"}, A: result(0), B: arg32(1)}}},
		{Row: wire.RowEventQuery, Set: SetEvents, Returns: true, OnlyRecorded: true, Functions: []Function{{Names: []string{"cuEventQuery"}, A: arg(0)}}},
		{Row: wire.RowEventDestroy, Set: SetEvents, Functions: []Function{{Names: []string{"cuEventDestroy", "cuEventDestroy_v2"}, A: arg(0)}}},
		{Row: wire.RowStreamWait, Set: SetEvents, Functions: []Function{{Names: names("cuStreamWaitEvent"), A: arg(0), B: arg(1)}}},

		{Row: wire.RowMalloc, Set: SetMemory, Returns: true, OnlyRecorded: true, Functions: []Function{{Names: []string{"cuMemAlloc_v2", "cuMemAllocManaged"}, A: arg(1), B: result(0)}}},
		{Row: wire.RowFree, Set: SetMemory, Functions: []Function{{Names: []string{"cuMemFree_v2"}, A: arg(0)}}},
		{Row: wire.RowMallocAsync, Set: SetMemory, Returns: true, OnlyRecorded: true, Functions: []Function{
			{Names: names("cuMemAllocAsync"), A: arg(1), B: result(0), C: arg(2)},
			{Names: names("cuMemAllocFromPoolAsync"), A: arg(1), B: result(0), C: arg(3)},
		}},
		{Row: wire.RowFreeAsync, Set: SetMemory, Functions: []Function{{Names: names("cuMemFreeAsync"), A: arg(0), B: arg(1)}}},
	}
	return append(in(cuda.Driver, false, launches), in(cuda.Driver, true, rows)...)
}

func ncclRows() []Row {
	return in(cuda.NCCL, false, []Row{
		{Row: wire.RowAllReduce, Set: SetCollectives, Functions: []Function{{Names: []string{"ncclAllReduce"}, A: arg(2), B: arg32(3), C: arg(6)}}},
		{Row: wire.RowAllGather, Set: SetCollectives, Functions: []Function{{Names: []string{"ncclAllGather"}, A: arg(2), B: arg32(3), C: arg(5)}}},
		{Row: wire.RowReduceScatter, Set: SetCollectives, Functions: []Function{{Names: []string{"ncclReduceScatter"}, A: arg(2), B: arg32(3), C: arg(6)}}},
		{Row: wire.RowBroadcast, Set: SetCollectives, Functions: []Function{{Names: []string{"ncclBroadcast"}, A: arg(2), B: arg32(3), C: arg(6)}}},
		{Row: wire.RowReduce, Set: SetCollectives, Functions: []Function{{Names: []string{"ncclReduce"}, A: arg(2), B: arg32(3), C: arg(7)}}},
		{Row: wire.RowSend, Set: SetCollectives, Functions: []Function{{Names: []string{"ncclSend"}, A: arg(1), B: arg32(2), C: arg(5)}}},
		{Row: wire.RowRecv, Set: SetCollectives, Functions: []Function{{Names: []string{"ncclRecv"}, A: arg(1), B: arg32(2), C: arg(5)}}},
	})
}

func in(library cuda.Kind, static bool, rows []Row) []Row {
	for i := range rows {
		rows[i].Library, rows[i].Static = library, static
		rows[i].Name = rows[i].Row.Name()
	}
	return rows
}
