package cpython

// Memory is the memory of another process. ReadAt fills buf from addr or fails
// as a whole. It must be usable from several goroutines.
type Memory interface {
	ReadAt(addr uint64, buf []byte) error
}

// ReadRequest is one read of a batch. Err is set by ReadMulti.
type ReadRequest struct {
	Addr uint64
	Buf  []byte
	Err  error
}

// MultiReader is a Memory that reads many places in one call.
type MultiReader interface {
	Memory
	ReadMulti(reqs []ReadRequest)
}

// ReadMulti serves every request, in batches where mem can. Each has its own
// Err: one that fails leaves the others as they are.
func ReadMulti(mem Memory, reqs []ReadRequest) {
	if m, ok := mem.(MultiReader); ok {
		m.ReadMulti(reqs)
		return
	}
	for i := range reqs {
		reqs[i].Err = mem.ReadAt(reqs[i].Addr, reqs[i].Buf)
	}
}
