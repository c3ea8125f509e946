package probes

import (
	"encoding/binary"
	"slices"
	"sync"
	"time"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/decode/wire"
)

const (
	// quiet is how long no graph is captured before the graphs are read: a server
	// captures a hundred in some seconds.
	quiet = time.Second
	// A handle that no object holds must not cause a reading each second for ever.
	firstPause = time.Second
	longPause  = time.Minute
	// maxHandles is far more graphs than a process has.
	maxHandles = 1 << 16
)

// handles are the cudaGraphExec_t of one worker, as its calls had them, and what
// there is to read of them. The goroutine of Run writes, that of Look reads.
type handles struct {
	mu       sync.Mutex
	live     map[uint64]*handle
	gone     map[uint64]bool // destroyed; a holder may go on with the stale handle
	touched  int64           // ktime of the newest capture or instantiation, ns
	captured bool            // and none was read since
	fresh    bool            // a handle was launched that was not known at the last reading
	changed  bool            // a handle means another graph than when the graphs were told
	pause    time.Duration
	read     int64 // monotonic ns of the last reading
	dropped  uint64
}

type handle struct {
	launched bool
	named    bool
	passing  bool // under a capture that is thrown away
}

func newHandles() *handles {
	return &handles{live: map[uint64]*handle{}, gone: map[uint64]bool{}, pause: firstPause}
}

// see takes a call's event. b is an event of kind PM_EV_CALL, as the kernel wrote
// it.
func (h *handles) see(b []byte) {
	row := wire.Row(b[60])
	switch row {
	case wire.RowGraphLaunch, wire.RowCaptureBegin, wire.RowCaptureEnd, wire.RowGraphInstantiate, wire.RowGraphDestroy:
	default:
		return
	}
	exec := binary.LittleEndian.Uint64(b[16:])
	flags := b[62]
	h.mu.Lock()
	defer h.mu.Unlock()
	switch row {
	case wire.RowGraphLaunch:
		e := h.get(exec)
		if e != nil && !e.launched {
			e.launched = true
			h.fresh = h.fresh || !e.named
		}
	case wire.RowGraphDestroy:
		delete(h.live, exec)
		if len(h.gone) == maxHandles {
			clear(h.gone)
		}
		h.gone[exec] = true
		h.changed = true
	case wire.RowGraphInstantiate:
		if flags&wire.CallFailed == 0 {
			delete(h.live, exec) // another graph at the place of a destroyed one
			h.changed = true
			if e := h.get(exec); e != nil {
				e.passing = flags&wire.CallThrowaway != 0
			}
		}
		fallthrough
	default:
		h.touched = int64(binary.LittleEndian.Uint64(b))
		h.captured = true
	}
}

func (h *handles) get(exec uint64) *handle {
	e := h.live[exec]
	if e != nil {
		return e
	}
	if exec == 0 || len(h.live) == maxHandles {
		h.dropped++
		return nil
	}
	e = &handle{}
	delete(h.gone, exec)
	h.live[exec] = e
	h.changed = true
	return e
}

// seen says whether a call had the handle.
func (h *handles) seen(exec uint64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.live[exec] != nil
}

// due says whether the graphs should be read now (monotonic ns), and begins it.
// changed: what is read is to be told even if it is what was told before.
func (h *handles) due(now int64) (due, changed bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	since := time.Duration(now - h.read)
	switch {
	case h.read != 0 && since < firstPause:
		return false, false
	case h.captured && time.Duration(now-h.touched) >= quiet:
	case h.fresh:
		h.pause = firstPause
	case h.nameless() && since >= h.pause:
	default:
		return false, false
	}
	changed, h.changed = h.changed, false
	h.captured = h.captured && time.Duration(now-h.touched) < quiet
	h.fresh = false
	h.read = now
	return true, changed
}

// retell takes back that a change was told.
func (h *handles) retell(changed bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.changed = h.changed || changed
}

func (h *handles) nameless() bool {
	for _, e := range h.live {
		if e.launched && !e.named && !e.passing {
			return true
		}
	}
	return false
}

// living leaves out what was destroyed.
func (h *handles) living(graphs []record.Graph) []record.Graph {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.DeleteFunc(graphs, func(g record.Graph) bool { return h.gone[g.Exec] })
}

// name takes what was read.
func (h *handles) name(graphs []record.Graph) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, g := range graphs {
		if e := h.live[g.Exec]; e != nil {
			e.named = true
		}
	}
	if h.nameless() {
		h.pause = min(2*h.pause, longPause)
	} else {
		h.pause = firstPause
	}
}
