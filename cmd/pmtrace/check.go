package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/pmtrace/pmtrace/output/session"
	"github.com/pmtrace/pmtrace/probes/check"
	"github.com/pmtrace/pmtrace/probes/target"
)

type checkOptions struct {
	pid       int
	outputDir string
	json      bool
}

func (a *app) checkCommand() *cobra.Command {
	var o checkOptions
	c := &cobra.Command{
		Use:   "check",
		Short: "Say what can be traced here, what not, and what to do about it",
		Long: `check looks at the kernel, the privileges, BPF, hardware breakpoints and the GPU's
driver, and with --pid at a server, by trying what tracing needs on itself. ok: works;
warn: works, or may, with less; FAIL: tracing cannot work, and the exit code is 3.`,
		Example: `  sudo pmtrace check
  sudo pmtrace check --pid 578`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return a.check(o) },
	}
	c.Flags().IntVar(&o.pid, "pid", 0, "also look at the server of this process")
	c.Flags().StringVar(&o.outputDir, "output-dir", "", "directory for sessions (default "+session.DefaultPlace+")")
	c.Flags().BoolVar(&o.json, "json", false, "as JSON")
	return c
}

func (a *app) check(o checkOptions) error {
	opts := check.Options{OutputDir: session.Place(o.outputDir, a.env.get)}
	if o.pid != 0 {
		s, err := a.resolve(o.pid, false)
		if err != nil {
			return err
		}
		opts.Targets = checkTargets(s)
	}
	findings := check.Run(a.world.machine, opts)
	if o.json {
		if err := a.printJSON(findings); err != nil {
			return err
		}
	} else {
		printFindings(a.stdout, findings)
	}
	if bad := check.Failed(findings); len(bad) > 0 {
		if !o.json {
			fmt.Fprintf(a.stderr, "pmtrace: tracing cannot work here: %d of %d checks failed\n", len(bad), len(findings))
		}
		return exitCode(exitImpossible)
	}
	return nil
}

func checkTargets(s target.Server) []check.Target {
	var out []check.Target
	for _, p := range s.Candidates() {
		out = append(out, check.Target{
			PID: p.PID, Threads: []int{p.PID},
			OtherPIDs: p.OtherPIDs, OtherMounts: p.OtherMounts, OtherUsers: p.OtherUsers, Container: p.Container,
		})
	}
	return out
}

func printFindings(w io.Writer, findings []check.Finding) {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	for _, f := range findings {
		name := f.Name
		if f.PID != 0 {
			name = fmt.Sprintf("process %d: %s", f.PID, name)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\n", f.Status, name, printable(f.Found))
		if f.Status != check.OK {
			fmt.Fprintf(t, "\t  needed:\t%s\n", f.Needed)
		}
		if f.Remedy != "" {
			fmt.Fprintf(t, "\t  remedy:\t%s\n", f.Remedy)
		}
	}
	t.Flush()
}

// preflight refuses what cannot work, with the first cause.
func (a *app) preflight(o *traceOptions, targets ...check.Target) error {
	findings := check.Run(a.world.machine, check.Options{OutputDir: o.place, Targets: targets})
	bad := check.Failed(findings)
	if len(bad) == 0 {
		return o.monitorOptions.check()
	}
	f := bad[0]
	var more []string
	for _, other := range bad[1:] {
		if strings.HasPrefix(f.ID, "cap_") && strings.HasPrefix(other.ID, "cap_") && other.Found == f.Found {
			f.Name += ", " + other.Name
			continue
		}
		more = append(more, other.ID)
	}
	remedy := f.Remedy
	if len(more) > 0 {
		remedy += " (and more: pmtrace check)"
	}
	if f.ID == "output_dir" {
		return &failure{code: exitFailed, what: "cannot write sessions", why: f.Found, remedy: remedy}
	}
	return impossible("cannot trace here", f.Name+" "+f.Found, remedy)
}
