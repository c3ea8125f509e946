package decode

import (
	"cmp"
	"errors"
	"slices"

	"github.com/pmtrace/pmtrace/decode/wire"
)

// Handler takes typed events. What it is given is valid until it returns.
type Handler interface {
	Step(*wire.Step) error
	StepRows(*wire.StepRows) error
	Request(*wire.Request) error
	Prefix(*wire.Prefix) error
	Keys(*wire.Keys) error
	Drafts(*wire.Drafts) error
	UpdateBegin(*wire.Update) error
	UpdateEnd(*wire.Update) error
	OutputRows(*wire.OutputRows) error
	KV(*wire.KV) error
	Routed(*wire.Routed) error
	Call(*wire.Call) error
	PhaseChange(*wire.PhaseChange) error
	WorkerStep(*wire.WorkerStep) error
	Hook(*wire.Hook) error
	CUPTICall(*wire.CUPTICall) error
	CUPTIReplay(*wire.CUPTIReplay) error
	CUPTIKernel(*wire.CUPTIKernel) error
	CUPTICopy(*wire.CUPTICopy) error
	CUPTIName(*wire.CUPTIName) error
	CUPTIWindow(*wire.CUPTIWindow) error
	CUPTIMoE(*wire.CUPTIMoE) error
	CUPTIClock(*wire.CUPTIClock) error
	// Malformed is told of an event that could not be read but has a header:
	// its number in the engine's sequence is not missing.
	Malformed(wire.Header) error
}

// Decoder reads raw events. Not for use by several goroutines at once.
type Decoder struct {
	h      Handler
	events [wire.KindLast + 1]int64
	errors map[ErrorKey]int64

	step   wire.Step
	rows   wire.StepRows
	req    wire.Request
	prefix wire.Prefix
	keys   wire.Keys
	drafts wire.Drafts
	update wire.Update
	output wire.OutputRows
	kv     wire.KV
	routed wire.Routed
	call   wire.Call
	change wire.PhaseChange
	worker wire.WorkerStep
	hook   wire.Hook

	launch wire.CUPTICall
	replay wire.CUPTIReplay
	kernel wire.CUPTIKernel
	copied wire.CUPTICopy
	name   wire.CUPTIName
	window wire.CUPTIWindow
	moe    wire.CUPTIMoE
	clock  wire.CUPTIClock
}

// ErrorKey is what malformed events are counted by.
type ErrorKey struct {
	Kind   wire.Kind
	Reason wire.Reason
}

// ErrorCount is a number of malformed events.
type ErrorCount struct {
	ErrorKey
	Count int64
}

// New returns a Decoder that hands its events to h.
func New(h Handler) *Decoder {
	return &Decoder{h: h, errors: map[ErrorKey]int64{}}
}

// Event reads one event and hands it to the handler. A *wire.Error says that
// it is malformed: it is counted, and the next may be read. Any other error is
// the handler's.
func (d *Decoder) Event(raw []byte) error {
	var h wire.Header
	if err := h.Read(raw); err != nil {
		return d.malformed(err)
	}
	if h.Version != wire.Version {
		return d.skip(h, &wire.Error{Kind: h.Kind, Reason: wire.ReasonVersion, Got: int(h.Version), Want: wire.Version})
	}
	handled, err := d.dispatch(h, raw)
	if !handled {
		return d.skip(h, err)
	}
	d.events[h.Kind]++
	return err
}

// dispatch reports whether the event reached the handler; err is the handler's
// then, and says what is wrong with the event otherwise.
func (d *Decoder) dispatch(h wire.Header, raw []byte) (handled bool, err error) {
	switch h.Kind {
	case wire.KindStep:
		if err := d.step.Read(h, raw); err != nil {
			return false, err
		}
		return true, d.h.Step(&d.step)
	case wire.KindStepRows:
		if err := d.rows.Read(h, raw); err != nil {
			return false, err
		}
		return true, d.h.StepRows(&d.rows)
	case wire.KindRequest:
		if err := d.req.Read(h, raw); err != nil {
			return false, err
		}
		return true, d.h.Request(&d.req)
	case wire.KindPrefix:
		if err := d.prefix.Read(h, raw); err != nil {
			return false, err
		}
		return true, d.h.Prefix(&d.prefix)
	case wire.KindKeys:
		if err := d.keys.Read(h, raw); err != nil {
			return false, err
		}
		return true, d.h.Keys(&d.keys)
	case wire.KindDrafts:
		if err := d.drafts.Read(h, raw); err != nil {
			return false, err
		}
		return true, d.h.Drafts(&d.drafts)
	case wire.KindUpdateBegin:
		if err := d.update.Read(h, raw); err != nil {
			return false, err
		}
		return true, d.h.UpdateBegin(&d.update)
	case wire.KindUpdateEnd:
		if err := d.update.Read(h, raw); err != nil {
			return false, err
		}
		return true, d.h.UpdateEnd(&d.update)
	case wire.KindOutputRows:
		if err := d.output.Read(h, raw); err != nil {
			return false, err
		}
		return true, d.h.OutputRows(&d.output)
	case wire.KindKV:
		if err := d.kv.Read(h, raw); err != nil {
			return false, err
		}
		return true, d.h.KV(&d.kv)
	case wire.KindRouted:
		if err := d.routed.Read(h, raw); err != nil {
			return false, err
		}
		return true, d.h.Routed(&d.routed)
	}
	return d.dispatchCall(h, raw)
}

// dispatchCall is dispatch for the events of CUDA calls and of hooks.
func (d *Decoder) dispatchCall(h wire.Header, raw []byte) (handled bool, err error) {
	switch h.Kind {
	case wire.KindCall:
		if err := d.call.Read(h, raw); err != nil {
			return false, err
		}
		return true, d.h.Call(&d.call)
	case wire.KindPhase:
		if err := d.change.Read(h, raw); err != nil {
			return false, err
		}
		return true, d.h.PhaseChange(&d.change)
	case wire.KindWorkerStep:
		if err := d.worker.Read(h, raw); err != nil {
			return false, err
		}
		return true, d.h.WorkerStep(&d.worker)
	case wire.KindHook:
		if err := d.hook.Read(h, raw); err != nil {
			return false, err
		}
		return true, d.h.Hook(&d.hook)
	}
	return d.dispatchCUPTI(h, raw)
}

// dispatchCUPTI is dispatch for the events from within recorded processes.
func (d *Decoder) dispatchCUPTI(h wire.Header, raw []byte) (handled bool, err error) {
	switch h.Kind {
	case wire.KindCUPTICall:
		if err := d.launch.Read(h, raw); err != nil {
			return false, err
		}
		return true, d.h.CUPTICall(&d.launch)
	case wire.KindCUPTIReplay:
		if err := d.replay.Read(h, raw); err != nil {
			return false, err
		}
		return true, d.h.CUPTIReplay(&d.replay)
	case wire.KindCUPTIKernel:
		if err := d.kernel.Read(h, raw); err != nil {
			return false, err
		}
		return true, d.h.CUPTIKernel(&d.kernel)
	case wire.KindCUPTICopy:
		if err := d.copied.Read(h, raw); err != nil {
			return false, err
		}
		return true, d.h.CUPTICopy(&d.copied)
	case wire.KindCUPTIName:
		if err := d.name.Read(h, raw); err != nil {
			return false, err
		}
		return true, d.h.CUPTIName(&d.name)
	case wire.KindCUPTIWindow:
		if err := d.window.Read(h, raw); err != nil {
			return false, err
		}
		return true, d.h.CUPTIWindow(&d.window)
	case wire.KindCUPTIMoE:
		if err := d.moe.Read(h, raw); err != nil {
			return false, err
		}
		return true, d.h.CUPTIMoE(&d.moe)
	case wire.KindCUPTIClock:
		if err := d.clock.Read(h, raw); err != nil {
			return false, err
		}
		return true, d.h.CUPTIClock(&d.clock)
	}
	return false, &wire.Error{Kind: h.Kind, Reason: wire.ReasonKind, Got: int(h.Kind), Want: int(wire.KindLast)}
}

func (d *Decoder) skip(h wire.Header, err error) error {
	if herr := d.h.Malformed(h); herr != nil {
		return herr
	}
	return d.malformed(err)
}

func (d *Decoder) malformed(err error) error {
	var e *wire.Error
	if !errors.As(err, &e) {
		return err
	}
	kind := e.Kind
	if kind > wire.KindLast {
		kind = wire.KindNone // hostile bytes must not make the map grow
	}
	d.errors[ErrorKey{kind, e.Reason}]++
	return err
}

// Events is the number of events of a kind that were read.
func (d *Decoder) Events(k wire.Kind) int64 { return d.events[k] }

// Errors are the malformed events so far, by kind and reason.
func (d *Decoder) Errors() []ErrorCount {
	counts := make([]ErrorCount, 0, len(d.errors))
	for k, n := range d.errors {
		counts = append(counts, ErrorCount{k, n})
	}
	slices.SortFunc(counts, func(a, b ErrorCount) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Reason, b.Reason))
	})
	return counts
}
