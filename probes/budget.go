package probes

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/probes/hook"
	"github.com/pmtrace/pmtrace/probes/vllm"
)

// An engine's thread has four hardware breakpoints for the watches and for hooks. Hooks
// take what the watches leave; forced ones come behind the first watch, so that the
// last is given up first. What tells a duration, and is not demanded, comes last.

// NoSlotError says that a hook finds no free breakpoint.
type NoSlotError struct {
	Taken  []Watch // by watches
	Forced bool
}

func (e *NoSlotError) Error() string {
	s := fmt.Sprintf("its thread has %d hardware breakpoints, and none is free", Breakpoints)
	if len(e.Taken) > 0 {
		s += " (" + joinWatches(e.Taken) + " " + haveThem(e.Taken) + ")"
	}
	return s + "; " + e.remedy()
}

func haveThem(taken []Watch) string {
	if len(taken) == 1 {
		return "has one"
	}
	return "have them"
}

func (e *NoSlotError) remedy() string {
	if e.Forced || len(e.Taken) < 2 {
		return "name fewer hooks, or end the debugger or tracer that holds them"
	}
	last := e.Taken[len(e.Taken)-1]
	return fmt.Sprintf("--force-hooks gives %s up, and with it %s; so does leaving profilers out (--profilers)", last, strings.Join(columnsOfWatch(last), ", "))
}

func joinWatches(list []Watch) string {
	words := make([]string, len(list))
	for i, w := range list {
		words[i] = string(w)
	}
	return strings.Join(words, ", ")
}

// errDisplaced is why a watch is not set that a forced hook has taken the place of.
var errDisplaced = errors.New("a hook has its hardware breakpoint (--force-hooks)")

// OverBudget says what is wrong with hooks that cannot all have a breakpoint of the
// engine's thread, whatever else holds some; nil: nothing.
func OverBudget(hooks []hook.Spec, watches []Watch, force bool) error {
	if watches == nil {
		watches = []Watch{WatchScheduleReturn, WatchFreeBlocks, WatchUpdateReturn, WatchUpdateEntry}
	}
	kept := len(watches)
	if force {
		kept = min(kept, 1)
	}
	for _, s := range hooks {
		if s.Language != hook.Python || s.Process != hook.Engine {
			continue
		}
		if kept++; kept > Breakpoints {
			return &HookError{s, &NoSlotError{Taken: watches, Forced: force}}
		}
	}
	return nil
}

// breakpointsOf sets the watches and the Python hooks of an engine, in the order of
// their right to a breakpoint.
func (t *Tracer) breakpointsOf(tr *traced, list []plan, index int) (lost []record.Unavailable, first error, hooks []*hooked, failed []error) {
	watches := func(list []plan) {
		for _, p := range list {
			err := t.set(tr, p, uint64(index))
			if err == nil {
				tr.names = append(tr.names, p.name)
				continue
			}
			if errors.Is(err, ErrNoSlot) && t.opts.ForceHooks && len(hooks) > 0 {
				err = errDisplaced
			}
			t.opts.Log.Warn("watch not set", "watch", p.name, "err", err)
			if first == nil && !errors.Is(err, errNotAsked) {
				first = err
			}
			lost = append(lost, loss(p.name, index, err))
		}
	}
	entries := func() {
		for _, s := range t.opts.Hooks {
			if s.Language != hook.Python || s.Process != hook.Engine {
				continue
			}
			h, err := t.newHook(s, t.engineProcess(tr.engine, index))
			if err == nil {
				err = t.hookPython(h)
			}
			if err == nil && t.opts.ForceHooks && h.demandsDuration() {
				err = t.hookReturns(h)
			}
			if errors.Is(err, ErrNoSlot) {
				err = &NoSlotError{Taken: slices.Clone(tr.names), Forced: t.opts.ForceHooks}
			}
			if err != nil {
				failed = append(failed, errors.Join(&HookError{s, err}, h.close()))
				continue
			}
			hooks = append(hooks, h)
		}
	}
	if t.opts.ForceHooks {
		watches(list[:1])
		entries()
		watches(list[1:])
	} else {
		watches(list)
		entries()
	}
	hooks, more := t.timeHooks(hooks)
	return lost, first, hooks, append(failed, more...)
}

func (t *Tracer) engineProcess(e *vllm.Engine, index int) HookProcess {
	return HookProcess{PID: e.PID, Process: hook.Engine, Engine: &index, Thread: e.Thread, State: e.ThreadState, Python: e.Python}
}
