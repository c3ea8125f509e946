package main

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/pmtrace/pmtrace/probes/hook"
	"github.com/pmtrace/pmtrace/probes/target"
)

type hookListOptions struct {
	pid     int
	library string
	json    bool
	force   bool
}

func (a *app) hookCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "hook", Short: "Find functions for --hook", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(a.hookListCommand())
	return c
}

func (a *app) hookListCommand() *cobra.Command {
	var o hookListOptions
	c := &cobra.Command{
		Use:   "list [--pid PID] [PATTERN]",
		Short: "List the functions of a server that can be watched with --hook",
		Long: `list shows the functions of a server's engine that --hook takes, with their
arguments, and how many of a thread's four hardware breakpoints each takes: one
to count its calls, and one for each place where it returns to time them.
PATTERN is a part of a name, or has wildcards: '*Scheduler.add_*'. With --library it
lists the exported functions of libraries whose file names contain that.`,
		Example: `  sudo pmtrace hook list 'KVCacheManager.get_*'
  sudo pmtrace hook list --library libcudart cudaMemcpy`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return a.hookList(&o, strings.Join(args, "")) },
	}
	c.Flags().IntVar(&o.pid, "pid", 0, "a process of the server (default: of the one that runs here)")
	c.Flags().StringVar(&o.library, "library", "", "list functions of C, in these libraries")
	c.Flags().BoolVar(&o.json, "json", false, "as JSON")
	c.Flags().BoolVar(&o.force, "force", false, "go on although it does not look like vLLM, or its versions are unknown")
	return c
}

func (a *app) hookList(o *hookListOptions, pattern string) error {
	pid, err := a.engineProcess(o)
	if err != nil {
		return err
	}
	var list []hook.Candidate
	if o.library != "" {
		list, err = hook.ListNative(pid, o.library, pattern)
	} else {
		var main hook.MainThread
		if main, err = hook.OpenMain(pid, o.force); err == nil {
			list, err = hook.ListPython(main.Python, pattern)
		}
	}
	if err != nil {
		return impossible(fmt.Sprintf("cannot look into process %d", pid), oneLine(err), "run it with sudo")
	}
	if o.json {
		return a.printJSON(list)
	}
	if len(list) == 0 {
		fmt.Fprintf(a.stderr, "pmtrace: no function of process %d fits %q\n", pid, pattern)
		return nil
	}
	return a.printCandidates(list, o.library == "")
}

// engineProcess is the process of a server that hooks are set in: the engine's where there
// is one.
func (a *app) engineProcess(o *hookListOptions) (int, error) {
	var pids []int
	if o.pid != 0 {
		pids = []int{o.pid}
	}
	servers, err := a.choose(pids, o.force)
	if err != nil {
		return 0, err
	}
	s := servers[0]
	if o.pid != 0 && o.pid != s.Root {
		return o.pid, nil
	}
	if engines := s.Engines(); len(engines) > 0 {
		return engines[0].PID, nil
	}
	return candidateOf(s), nil
}

func candidateOf(s target.Server) int {
	if c := s.Candidates(); len(c) > 0 {
		return c[0].PID
	}
	return s.Root
}

func (a *app) printCandidates(list []hook.Candidate, python bool) error {
	w := tabwriter.NewWriter(a.stdout, 0, 4, 2, ' ', 0)
	if python {
		fmt.Fprintln(w, "HOOK\tBREAKPOINTS\tARGUMENTS")
	}
	for _, c := range list {
		if !python {
			fmt.Fprintln(w, printable(c.Spec))
			continue
		}
		breakpoints := "1"
		if c.Breakpoints > 0 {
			breakpoints = fmt.Sprintf("1, timed %d", c.Breakpoints)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", printable(c.Spec), breakpoints, printable(strings.Join(c.Arguments, ", ")))
	}
	return w.Flush()
}
