package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/pmtrace/pmtrace/output/compare"
)

func printMetrics(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "METRIC\tUNIT\tBETTER\tMEANING")
	for _, m := range compare.Metrics() {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", m.Name, m.Unit, m.Better, m.About)
	}
	fmt.Fprintln(t, "cpu_OPERATION_mean\tns\tlower\ta CPU operation of the table cpu_operations: cpu_scheduling_mean, …")
	return t.Flush()
}

func printDiff(w io.Writer, r *compare.Result) error {
	fmt.Fprintf(w, "A  %s\nB  %s\n", printable(strings.Join(r.A, " ")), printable(strings.Join(r.B, " ")))
	if len(r.Setup) > 0 {
		fmt.Fprintln(w, "\nThe set-ups differ:")
		for _, d := range r.Setup {
			fmt.Fprintf(w, "  %s: %s → %s\n", d.What, setupText(d.A), setupText(d.B))
		}
	}
	fmt.Fprintln(w)
	for _, n := range r.Notes {
		fmt.Fprintf(w, "Note: %s\n", printable(n))
	}
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "METRIC\tA\tB\tCHANGE\t95 %\tP\t")
	for _, m := range r.Metrics {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", printable(m.Name), valueText(m.Unit, m.A), valueText(m.Unit, m.B),
			changeText(m.Change), intervalText(m.Low, m.High), pText(m), judgement(m))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	tested := slices.ContainsFunc(r.Metrics, func(m compare.Row) bool { return m.P != nil })
	if tested && !r.Metrics[0].Shown {
		fmt.Fprintln(w, "\nNo difference is shown.")
	}
	if len(r.NoData) > 0 {
		fmt.Fprintf(w, "\nNo data of %s\n", strings.Join(r.NoData, ", "))
	}
	return nil
}

func setupText(values []string) string {
	texts := make([]string, len(values))
	for i, v := range values {
		texts[i] = orDash(v)
	}
	return printable(strings.Join(texts, " | "))
}

func valueText(unit string, v compare.Value) string {
	if v.Mean == nil {
		return "-"
	}
	s := amountText(unit, *v.Mean)
	if v.Spread != nil && *v.Mean != 0 {
		s += fmt.Sprintf(" ± %.1f %%", 100**v.Spread / *v.Mean)
	}
	return s
}

func amountText(unit string, v float64) string {
	switch unit {
	case compare.UnitRate:
		return fmt.Sprintf("%.1f/s", v)
	case compare.UnitShare:
		return fmt.Sprintf("%.2f %%", 100*v)
	case compare.UnitCount:
		return fmt.Sprintf("%.1f", v)
	}
	switch {
	case v >= 1e9:
		return fmt.Sprintf("%.2f s", v/1e9)
	case v >= 1e6:
		return fmt.Sprintf("%.2f ms", v/1e6)
	}
	return fmt.Sprintf("%.1f µs", v/1e3)
}

func changeText(change *float64) string {
	if change == nil {
		return "-"
	}
	return fmt.Sprintf("%+.1f %%", 100**change)
}

func intervalText(low, high *float64) string {
	if low == nil || high == nil {
		return "-"
	}
	return fmt.Sprintf("%+.1f to %+.1f", 100**low, 100**high)
}

// pText is "~" where nothing is shown, and "-" where nothing was tested.
func pText(m compare.Row) string {
	switch {
	case m.P == nil:
		return "-"
	case !m.Shown:
		return "~"
	}
	return fmt.Sprintf("%.3f", *m.P)
}

func judgement(m compare.Row) string {
	switch {
	case !m.Shown || m.Better == compare.Neutral:
		return ""
	case m.Worse:
		return "worse"
	}
	return "better"
}
