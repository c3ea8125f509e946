package probes

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/probes/hook"
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
	s := fmt.Sprintf("--force-hooks gives %s up, and with it %s", last, strings.Join(columnsOfWatch(last), ", "))
	if last != WatchFreeBlocks && slices.Contains(e.Taken, WatchFreeBlocks) {
		s += "; --no-profilers kv_cache gives free_blocks up"
	}
	return s
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

// arming is the setting of an engine's watches and Python hooks.
type arming struct {
	t     *Tracer
	tr    *traced
	index int

	lost   []record.Unavailable // with watches that are not set
	why    error                // the first of them is not
	hooks  []*hooked
	failed []error // hooks that are not set
}

// breakpoints sets all, in the order of their right to a breakpoint.
func (a *arming) breakpoints(list []plan) {
	if a.t.opts.ForceHooks {
		a.watches(list[:1])
		a.entries()
		a.watches(list[1:])
	} else {
		a.watches(list)
		a.entries()
	}
	hooks, failed := a.t.timeHooks(a.hooks)
	a.hooks, a.failed = hooks, append(a.failed, failed...)
}

func (a *arming) watches(list []plan) {
	for _, p := range list {
		err := a.t.set(a.tr, p, uint64(a.index))
		if err == nil {
			a.tr.names = append(a.tr.names, p.name)
			continue
		}
		if errors.Is(err, ErrNoSlot) && a.t.opts.ForceHooks && len(a.hooks) > 0 {
			err = errDisplaced
		}
		a.t.opts.Log.Warn("watch not set", "watch", p.name, "err", err)
		if a.why == nil && !errors.Is(err, errNotAsked) {
			a.why = err
		}
		a.lost = append(a.lost, loss(p.name, a.index, err))
	}
}

// entries sets the hooks, as far as they do not wait for what is left.
func (a *arming) entries() {
	for _, s := range a.t.opts.Hooks {
		if isC(s) || s.Process != hook.Engine {
			continue
		}
		h, err := a.t.newHook(s, a.process())
		if err == nil {
			err = a.t.setHook(h)
		}
		var none *NoSlotError
		if errors.As(err, &none) {
			none.Taken, none.Forced = slices.Clone(a.tr.names), a.t.opts.ForceHooks
		}
		if err != nil {
			a.failed = append(a.failed, errors.Join(&HookError{s, err}, h.close()))
			continue
		}
		a.hooks = append(a.hooks, h)
	}
}

func (a *arming) process() HookProcess {
	e := a.tr.engine
	return HookProcess{PID: e.PID, Process: hook.Engine, Engine: &a.index, Thread: e.Thread, State: e.ThreadState, Python: e.Python}
}
