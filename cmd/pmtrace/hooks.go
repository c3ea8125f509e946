package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/probes"
	"github.com/pmtrace/pmtrace/probes/hook"
	"github.com/pmtrace/pmtrace/probes/target"
)

// hookOptions are functions that are watched besides.
type hookOptions struct {
	texts []string
	file  string
	force bool

	specs []hook.Spec // when resolved
}

func (o *hookOptions) flags(f *pflag.FlagSet) {
	f.StringArrayVar(&o.texts, "hook", nil, "watch a function: 'py:module:Class.method(argument, len(argument.attribute))' or 'c:libfoo.so:symbol(0, 1:u32, ret)'; may be given again")
	f.StringVar(&o.file, "hooks", "", "watch the functions in this YAML file")
	f.BoolVar(&o.force, "force-hooks", false, "give up watches of pmtrace's own for Python hooks: update_entry, then update_return, then free_blocks")
}

func (o *hookOptions) resolve(profilers []string) error {
	o.specs = nil
	if o.file != "" {
		text, err := readHooks(o.file)
		if err == nil {
			o.specs, err = hook.ReadFile(text)
		}
		if err != nil {
			return wrongHook("--hooks "+o.file, err)
		}
	}
	for _, text := range o.texts {
		s, err := hook.Parse(text)
		if err != nil {
			return wrongHook("--hook", err)
		}
		o.specs = append(o.specs, s)
	}
	seen := map[string]bool{}
	for _, s := range o.specs {
		at := string(s.Process) + " " + s.Name
		if seen[at] {
			return wrongHook("--hook", fmt.Errorf("two hooks are named %s; give one of them another name in a file (--hooks)", s.Name))
		}
		seen[at] = true
	}
	if err := probes.OverBudget(o.specs, watchesFor(profilers), o.force); err != nil {
		return &failure{code: exitUsage, what: err.Error()}
	}
	return nil
}

func wrongHook(where string, err error) error {
	return &failure{code: exitUsage, what: where + ": " + printable(err.Error())}
}

// maxHookFile is far more than anyone writes by hand.
const maxHookFile = 1 << 18

// readHooks reads a file that the calling user may read: pmtrace itself may read any.
func readHooks(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, rootCause(err)
	}
	defer f.Close()
	if err := unix.Faccessat(int(f.Fd()), "", unix.R_OK, unix.AT_EMPTY_PATH); err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(f, maxHookFile+1))
	if len(text) > maxHookFile {
		return nil, errors.New("it is larger than any list of hooks")
	}
	return text, err
}

// arguments are the flags that say the same again.
func (o *hookOptions) arguments() []string {
	var args []string
	for _, text := range o.texts {
		args = append(args, "--hook="+text)
	}
	if o.file != "" {
		name, err := filepath.Abs(o.file)
		if err != nil {
			name = o.file
		}
		args = append(args, "--hooks="+name)
	}
	if o.force {
		args = append(args, "--force-hooks")
	}
	return args
}

// hookWatch sets hooks in the processes that are no engines, and follows all of them.
type hookWatch struct {
	t    *trace
	done map[int]bool // processes that were looked into
}

func newHookWatch(t *trace) *hookWatch { return &hookWatch{t: t, done: map[int]bool{}} }

// wants says whether hooks are to be set in such a process.
func (w *hookWatch) wants(p hook.Process) bool {
	return slices.ContainsFunc(w.t.opts.hooks.specs, func(s hook.Spec) bool { return s.Process == p })
}

// look sets the hooks of the processes that have come up. An engine that runs has its
// workers and servers beside it.
func (w *hookWatch) look(s target.Server) error {
	for _, p := range s.Processes {
		kind := map[target.Role]hook.Process{target.RoleWorker: hook.Worker, target.RoleAPIServer: hook.APIServer}[p.Role]
		if kind == "" || w.done[p.PID] || !w.wants(kind) {
			continue
		}
		w.done[p.PID] = true
		var engine *int
		if index, ok := w.t.hunt.armed[p.PPID]; ok && p.Role == target.RoleWorker {
			engine = &index
		}
		var missing []record.Unavailable
		w.t.rec.attach(func() ([]record.Fact, error) {
			var hooks []record.Hook
			hooks, missing = w.t.tracer.AttachHooks(p.PID, kind, engine, w.t.opts.force)
			w.say(hooks)
			return hookFacts(hooks), nil
		})
		for i := range missing {
			w.t.app.notAvailable(&missing[i])
			if err := w.t.rec.fact(record.Fact{Unavailable: &missing[i]}); err != nil {
				return err
			}
		}
	}
	return w.t.rec.broken()
}

func hookFacts(hooks []record.Hook) []record.Fact {
	var facts []record.Fact
	for i := range hooks {
		facts = append(facts, record.Fact{Hook: &hooks[i]})
	}
	return facts
}

// say tells what is watched, and why a duration is not.
func (w *hookWatch) say(hooks []record.Hook) {
	for _, h := range hooks {
		w.t.status.done()
		line := fmt.Sprintf("pmtrace: hook %s in process %d", printable(h.Spec), h.PID)
		if h.NoDuration != "" && h.NoDuration != probes.NotWanted {
			line += ", without durations: " + h.NoDuration
		}
		fmt.Fprintln(w.t.app.stderr, line)
	}
}

// count reads the counters; write: into the journal, too.
func (w *hookWatch) count(write bool) error {
	if len(w.t.opts.hooks.specs) == 0 {
		return nil
	}
	counts, changed, err := w.t.tracer.LookAtHooks()
	if err != nil {
		w.t.log.Error("counters of hooks", "error", err)
	}
	for i := range changed {
		w.t.status.done()
		fmt.Fprintf(w.t.app.stderr, "pmtrace: hook %s: %s\n", printable(changed[i].Spec), changed[i].Ended)
	}
	for _, f := range hookFacts(changed) {
		if err := w.t.rec.fact(f); err != nil {
			return err
		}
	}
	if !write || len(counts) == 0 {
		return nil
	}
	return w.t.rec.fact(record.Fact{HookCounts: &record.HookCounts{MonoNS: w.t.app.world.monotonic(), Counts: counts}})
}

// hookFailure is how an attach ends for a hook that cannot be set; nil: it does not.
func hookFailure(err error) *failure {
	var h *probes.HookError
	if !errors.As(err, &h) {
		return nil
	}
	return &failure{code: exitImpossible, what: printable(h.Error())}
}
