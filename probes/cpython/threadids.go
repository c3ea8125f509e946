package cpython

import "encoding/binary"

// threadStruct is how much of a thread's struct pthread is looked through, and glibcTID
// where glibc has the thread's id in it on x86-64.
const (
	threadStruct = 1024
	glibcTID     = 720
)

// findNativeIDs fills in the ids of threads where PyThreadState does not have them (3.10).
// The C library has each in its struct pthread, to which Ident points: where in it shows
// by the ids that the process's threads have. A thread that is gone meanwhile gets none.
func (r *Runtime) findNativeIDs(threads []Thread) {
	room := make([]byte, threadStruct*len(threads))
	reqs := make([]ReadRequest, len(threads))
	for i, t := range threads {
		reqs[i] = ReadRequest{Addr: t.Ident, Buf: room[i*threadStruct : (i+1)*threadStruct]}
	}
	ReadMulti(r.mem, reqs)
	at := glibcTID
	if r.pid != 0 {
		if ids, err := HostTIDs(r.pid); err == nil {
			at = offsetOfIDs(reqs, ids)
		}
	}
	for i := range threads {
		if reqs[i].Err == nil {
			threads[i].NativeID = int(binary.LittleEndian.Uint32(reqs[i].Buf[at:]))
		}
	}
}

// offsetOfIDs gives the offset at which most of the structures have an id that is one
// of the process's threads, each another.
func offsetOfIDs(reqs []ReadRequest, ids map[int]int) int {
	best, most := glibcTID, 0
	for n := -1; n < threadStruct/4; n++ {
		at := 4 * n
		if n < 0 {
			at = glibcTID // first: it is nearly always there
		}
		seen := make(map[int]bool)
		for i := range reqs {
			if reqs[i].Err != nil {
				continue
			}
			id := int(binary.LittleEndian.Uint32(reqs[i].Buf[at:]))
			if _, ok := ids[id]; ok {
				seen[id] = true
			}
		}
		if len(seen) > most {
			best, most = at, len(seen)
		}
	}
	return best
}
