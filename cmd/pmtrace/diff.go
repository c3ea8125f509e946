package main

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pmtrace/pmtrace/output/compare"
)

type diffOptions struct {
	failOn  []string
	strict  bool
	json    bool
	metrics bool
}

func (a *app) diffCommand() *cobra.Command {
	o := diffOptions{}
	c := &cobra.Command{
		Use:   "diff A B | diff A... -- B...",
		Short: "Say in what sessions differ, and whether that is more than chance",
		Long: `diff compares the sessions of two set-ups: throughput, latencies of requests,
step times by phase, the GPU's time and idle time, CUDA graphs, KV cache, CPU
operations. Give several runs a side, four at least, and a run is what counts;
with one a side the session's own blocks of time are, which say nothing of how
one run differs from the next.

p is corrected for all metrics together: where nothing has changed, the chance of
any p of 0.05 or less is 5 %. The interval behind a change is that of 95 % of this
metric by itself.`,
		Example: `  pmtrace diff before after
  pmtrace diff before_* -- after_*
  pmtrace diff --fail-on 'tpot_p99>+3%' before_* -- after_*`,
		RunE: func(c *cobra.Command, args []string) error {
			if o.metrics {
				return printMetrics(a.stdout)
			}
			before, after, err := diffSides(args, c.ArgsLenAtDash())
			if err != nil {
				return err
			}
			return a.diff(before, after, o)
		},
	}
	f := c.Flags()
	f.StringArrayVar(&o.failOn, "fail-on", nil, "end with exit code 5 if a metric's change is shown and beyond this: 'tpot_p99>+3%', 'tokens_per_s<-3%' (again for more)")
	f.BoolVar(&o.strict, "strict", false, "… or if a side has no data of such a metric")
	f.BoolVar(&o.json, "json", false, "as JSON")
	f.BoolVar(&o.metrics, "metrics", false, "list the metrics and what they mean")
	return c
}

// diffSides parts the arguments at the dash, or two in the middle.
func diffSides(args []string, dash int) (before, after []string, err error) {
	switch {
	case dash < 0 && len(args) == 2:
		before, after = args[:1], args[1:]
	case dash > 0 && dash < len(args):
		before, after = args[:dash], args[dash:]
		for _, arg := range after {
			if strings.HasPrefix(arg, "--") {
				return nil, nil, usage("behind the -- are sessions alone: put %s before it", arg)
			}
		}
	default:
		return nil, nil, usage("diff wants two sessions, or several on each side of a --: pmtrace diff A... -- B...")
	}
	return before, after, nil
}

func (a *app) diff(before, after []string, o diffOptions) error {
	var gates []compare.Gate
	for _, text := range o.failOn {
		g, err := compare.ParseGate(text)
		if err != nil {
			return usage("--fail-on: %v", err)
		}
		gates = append(gates, g)
	}
	runs, err := readRuns(slices.Concat(before, after))
	if err != nil {
		return err
	}
	result := compare.Compare(runs[:len(before)], runs[len(before):])
	verdicts := make([]compare.Verdict, len(gates))
	for i, g := range gates {
		verdicts[i] = result.Check(g)
		verdicts[i].Fails = verdicts[i].Fails || o.strict && verdicts[i].NoData
	}
	if o.json {
		err = a.printJSON(struct {
			*compare.Result
			Gates []compare.Verdict `json:"gates"`
		}{result, verdicts})
	} else {
		err = printDiff(a.stdout, result)
	}
	if err != nil {
		return err
	}
	return a.gates(verdicts)
}

// gates says what became of each, and ends the command if one fails.
func (a *app) gates(verdicts []compare.Verdict) error {
	fails := false
	for _, v := range verdicts {
		fmt.Fprintf(a.stderr, "pmtrace: %s\n", printable(gateLine(v)))
		fails = fails || v.Fails
	}
	if fails {
		return exitCode(exitChanged)
	}
	return nil
}

func gateLine(v compare.Verdict) string {
	word := "passes"
	if v.Fails {
		word = "fails"
	}
	why := "no difference is shown"
	switch {
	case v.NoData && v.Change != nil:
		why = changeText(v.Change) + ", but there is too little to tell by"
	case v.NoData:
		why = "a side has no data"
	case v.Shown:
		why = fmt.Sprintf("%s, p %.2g", changeText(v.Change), *v.P)
	case v.Change != nil:
		why = changeText(v.Change) + ", but " + why
	}
	return fmt.Sprintf("--fail-on %s %s: %s", v.Gate, word, why)
}

func readRuns(paths []string) ([]*compare.Run, error) {
	var runs []*compare.Run
	for _, path := range paths {
		r, err := readRun(path)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(runs, func(other *compare.Run) bool { return other.Path == r.Path }) {
			return nil, usage("%s is given twice: a session is one run, on one side", r.Path)
		}
		runs = append(runs, r)
	}
	return runs, nil
}

func readRun(path string) (*compare.Run, error) {
	dir, err := openSession(path)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	r, err := compare.Read(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, compare.ErrNoSteps):
		return nil, failed("cannot compare "+dir.Path(), err, "if it has a journal, pmtrace decode makes its tables")
	case err != nil:
		return nil, failed("cannot read "+dir.Path(), rootCause(err), "pmtrace decode makes its tables again")
	}
	return r, nil
}
