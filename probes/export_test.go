package probes

import (
	"time"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/probes/cpython"
)

// Model is model.
type Model = model

// AttachModel is AttachWorker for objects that are not vLLM's.
func (t *Tracer) AttachModel(pid int, python *cpython.Runtime, m Model, spec WorkerSpec) (record.Worker, []record.Unavailable, error) {
	return t.attachWorker(pid, python, m, spec)
}

// LookAtMaps lets the next Look look for libraries.
func (t *Tracer) LookAtMaps() {
	for _, w := range t.workers {
		w.nextMaps = time.Time{}
	}
}
