package probes

import (
	"github.com/pmtrace/pmtrace/decode/record"
)

// OpenWindow sets the probes of Calls.Windowed on the workers that there are, and tells of
// which all calls are seen from then on. It takes some milliseconds, and of the server as
// many microseconds as places are probed. A worker whose window is open keeps it.
func (t *Tracer) OpenWindow() []record.Fact {
	t.mu.Lock()
	defer t.mu.Unlock()
	var facts []record.Fact
	for _, w := range t.workers {
		if w.pidfd < 0 || !w.fact.CallsInWindows || w.window.BeginNS != 0 {
			continue
		}
		if err := t.openWindow(w); err != nil {
			t.complain(w, "probe launches and copies", err)
			continue
		}
		opened := record.CallWindow{Worker: w.index, BeginNS: monotonic()}
		w.window = opened
		facts = append(facts, record.Fact{CallWindow: &opened})
	}
	return facts
}

func (t *Tracer) openWindow(w *worker) error {
	for _, l := range w.libraries {
		if l.window == nil || len(l.window.links) > 0 {
			continue
		}
		var err error
		if l.window.links, err = t.setProbes(w.pid, l.window.file.Path(), l.window.probes); err != nil {
			return err
		}
	}
	return nil
}

// EndWindow tells the window's end: the probes are still there until CloseWindow, but what
// is seen from then on may not be all. Events of later times must be written after it.
func (t *Tracer) EndWindow() []record.Fact {
	t.mu.Lock()
	defer t.mu.Unlock()
	var facts []record.Fact
	for _, w := range t.workers {
		if w.window.BeginNS == 0 {
			continue
		}
		ended := w.window
		ended.EndNS = monotonic()
		w.window = record.CallWindow{}
		facts = append(facts, record.Fact{CallWindow: &ended})
	}
	return facts
}

// CloseWindow takes the probes off.
func (t *Tracer) CloseWindow() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, w := range t.workers {
		for _, l := range w.libraries {
			if l.window != nil {
				t.complain(w, "take the probes off launches and copies", l.window.close())
			}
		}
	}
}
