package cpython

import "sync"

const pageSize = 4096

// PageCache is a Memory that reads whole pages once and answers from them. It
// is a view of one moment only: make a new one for each walk.
type PageCache struct {
	mem      Memory
	maxPages int

	mu    sync.Mutex
	pages map[uint64][]byte
}

// Cached gives a page cache over mem that keeps at most maxPages pages of 4
// KiB. When it is full, it reads through.
func Cached(mem Memory, maxPages int) *PageCache {
	return &PageCache{mem: mem, maxPages: maxPages, pages: make(map[uint64][]byte)}
}

// ReadAt fills buf from cached pages, reading those that are missing.
func (c *PageCache) ReadAt(addr uint64, buf []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.readLocked(addr, buf)
}

// ReadMulti loads the missing pages of all requests in one batch.
func (c *PageCache) ReadMulti(reqs []ReadRequest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.loadLocked(reqs)
	for i := range reqs {
		reqs[i].Err = c.readLocked(reqs[i].Addr, reqs[i].Buf)
	}
}

func (c *PageCache) loadLocked(reqs []ReadRequest) {
	var load []ReadRequest
	asked := make(map[uint64]bool)
	for _, r := range reqs {
		last := r.Addr + uint64(max(len(r.Buf), 1)) - 1
		for p := r.Addr / pageSize; p <= last/pageSize && len(c.pages)+len(load) < c.maxPages; p++ {
			if c.pages[p] == nil && !asked[p] {
				asked[p] = true
				load = append(load, ReadRequest{Addr: p * pageSize, Buf: make([]byte, pageSize)})
			}
		}
	}
	ReadMulti(c.mem, load)
	for _, l := range load {
		if l.Err == nil {
			c.pages[l.Addr/pageSize] = l.Buf
		}
	}
}

func (c *PageCache) readLocked(addr uint64, buf []byte) error {
	for len(buf) > 0 {
		page := c.pageLocked(addr / pageSize)
		if page == nil {
			return c.mem.ReadAt(addr, buf)
		}
		n := copy(buf, page[addr%pageSize:])
		buf, addr = buf[n:], addr+uint64(n)
	}
	return nil
}

// pageLocked gives nil for a page that cannot be read or has no room.
func (c *PageCache) pageLocked(p uint64) []byte {
	if page := c.pages[p]; page != nil {
		return page
	}
	if len(c.pages) >= c.maxPages {
		return nil
	}
	page := make([]byte, pageSize)
	if c.mem.ReadAt(p*pageSize, page) != nil {
		return nil
	}
	c.pages[p] = page
	return page
}
