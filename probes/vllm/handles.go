package vllm

import (
	"encoding/binary"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/probes/cpython"
)

const (
	// bindingPointer is where an object of pybind11 keeps the pointer to the C++
	// object: value_holder[0] right behind the head.
	bindingPointer = 16
	// handleBytes of at::cuda::CUDAGraph are searched for the handle.
	handleBytes = 128
)

// handles reads the cudaGraphExec_t out of at::cuda::CUDAGraph objects.
type handles struct {
	rt      *cpython.Runtime // live: handles change under a walk
	seen    func(uint64) bool
	unnamed map[string]int
}

// read gives the graphs with their handles, as far as those can be told. offset
// is where the handle was at the last read, and is put right.
func (h *handles) read(found []foundGraph, offset *int) []record.Graph {
	objects := h.objects(found)
	if o := h.calibrate(objects, *offset); o >= 0 {
		*offset = o
	}
	graphs := make([]record.Graph, 0, len(found))
	if *offset < 0 {
		for _, f := range found {
			graphs = append(graphs, f.graph)
		}
		return graphs
	}
	uses := map[uint64]int{}
	for _, o := range objects {
		uses[word(o, *offset)]++
	}
	for i, f := range found {
		exec := word(objects[i], *offset)
		switch {
		case objects[i] == nil:
			h.unnamed["C++ object unreadable"]++
		case exec == 0:
			h.unnamed["not instantiated"]++
		case uses[exec] > 1:
			h.unnamed["handle of several graphs"]++
		default:
			f.graph.Exec = exec
			graphs = append(graphs, f.graph)
		}
	}
	return graphs
}

// objects reads the first bytes of the C++ object of each graph; nil where it
// could not be read.
func (h *handles) objects(found []foundGraph) [][]byte {
	ptrs := make([]cpython.ReadRequest, len(found))
	for i, f := range found {
		ptrs[i] = cpython.ReadRequest{Addr: f.obj + bindingPointer, Buf: make([]byte, 8)}
	}
	cpython.ReadMulti(h.rt.Memory(), ptrs)
	out := make([][]byte, len(found))
	// The object may be shorter, and the last in its mapping.
	for size := handleBytes; size >= 16; size /= 2 {
		var reqs []cpython.ReadRequest
		var of []int
		for i, p := range ptrs {
			if addr := binary.LittleEndian.Uint64(p.Buf); p.Err == nil && addr != 0 && out[i] == nil {
				reqs = append(reqs, cpython.ReadRequest{Addr: addr, Buf: make([]byte, size)})
				of = append(of, i)
			}
		}
		cpython.ReadMulti(h.rt.Memory(), reqs)
		for k, r := range reqs {
			if r.Err == nil {
				out[of[k]] = r.Buf
			}
		}
	}
	return out
}

// calibrate finds the offset at which the objects have handles that were seen:
// the one with most, if none is there twice. A single one may be elsewhere, too:
// the cudaGraph_t of a graph is destroyed, its memory may be a handle's since.
// So between offsets with equally many it is current, if that is among them.
// -1: it cannot be told.
func (h *handles) calibrate(objects [][]byte, current int) int {
	best, most := -1, 0
	for offset := 0; offset < handleBytes; offset += 8 {
		n := h.handlesAt(objects, offset)
		switch {
		case n > most:
			best, most = offset, n
		case n == most && n > 0 && offset == current:
			best = offset
		case n == most && best != current:
			best = -1
		}
	}
	return best
}

// handlesAt counts the objects that have a seen handle at offset; 0 where two
// have the same.
func (h *handles) handlesAt(objects [][]byte, offset int) int {
	hits := map[uint64]bool{}
	for _, o := range objects {
		v := word(o, offset)
		if v == 0 || !h.seen(v) {
			continue
		}
		if hits[v] {
			return 0
		}
		hits[v] = true
	}
	return len(hits)
}

// word gives the 8 bytes at offset; 0 where the object does not reach so far.
func word(object []byte, offset int) uint64 {
	if offset+8 > len(object) {
		return 0
	}
	return binary.LittleEndian.Uint64(object[offset:])
}
