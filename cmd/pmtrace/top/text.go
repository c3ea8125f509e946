package top

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"charm.land/lipgloss/v2"
	"charm.land/lipgloss/v2/table"

	"github.com/pmtrace/pmtrace/output/live"
)

// style is how parts of the text look; the zero value leaves them plain.
type style struct{ bold, faint, alarm, accent lipgloss.Style }

func plain() style { return style{} }

func colored() style {
	return style{
		bold: lipgloss.NewStyle().Bold(true), faint: lipgloss.NewStyle().Faint(true),
		alarm: lipgloss.NewStyle().Bold(true).Foreground(lipgloss.Red), accent: lipgloss.NewStyle().Foreground(lipgloss.Cyan),
	}
}

// Block is a frame as plain lines, each at most width wide; 0: as wide as it is.
func Block(f *Frame, width int) string {
	return cut(text(f, plain(), listedInLines), width)
}

// text has two lists of requests, of rows at most each.
func text(f *Frame, s style, rows int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s\n", s.bold.Render(f.Title), s.state(f))
	fmt.Fprintf(&b, "%s\n\n", s.faint.Render(windowWords(&f.View)))
	b.WriteString(rates(f, s))
	b.WriteString(steps(f, s))
	b.WriteString(latencies(f, s))
	b.WriteString(losses(f, s))
	b.WriteString(running(f, s, rows))
	b.WriteString(slowest(f, s, rows))
	return b.String()
}

func (s *style) state(f *Frame) string {
	words := string(f.State)
	if f.Note != "" {
		words += ": " + f.Note
	}
	switch f.State {
	case Silent, Ended:
		return s.alarm.Render(words)
	case Waiting, Reading, Tracing:
	}
	return s.accent.Render(words)
}

func windowWords(v *live.View) string {
	words := fmt.Sprintf("%s traced; figures of the %s", seconds(v.ToNS+v.DelayNS), seconds(v.ToNS-v.FromNS))
	if v.DelayNS >= int64(50*time.Millisecond) {
		return words + " up to " + seconds(v.DelayNS) + " ago"
	}
	return words + " up to now"
}

func rates(f *Frame, s style) string {
	var b strings.Builder
	v := &f.View
	fmt.Fprintf(&b, "%s steps/s, tokens/s %s in, %s out, %s requests/s finished\n",
		s.bold.Render(rate(v.StepsPerS)), s.bold.Render(rate(v.TokensInPerS)), s.bold.Render(knownRate(v.TokensOutPerS)), s.bold.Render(rate(v.RequestsPerS)))
	fmt.Fprintf(&b, "Requests  %s running, %s waiting; %s preemptions/s (%d in all)\n",
		count(v.Running), count(v.Waiting), rate(v.PreemptedPerS), v.Since.Preemptions)
	fmt.Fprintf(&b, "KV cache  %s; %s evictions/s (%d in all)\n", kv(v), knownRate(v.EvictionsPerS), v.Since.Evictions)
	if g := v.GPU; g != nil {
		fmt.Fprintf(&b, "GPU       steps %.1f %% (%s), idle with requests %.1f %%, without or unknown %.1f %%\n", g.BusyPct, g.Source, g.WaitingPct, g.OtherPct)
	}
	if g := v.Graphs; g != nil {
		fmt.Fprintf(&b, "Graphs    FULL %.1f %%, PIECEWISE %.1f %%, eager %.1f %% of steps", g.FullPct, g.PiecewisePct, g.EagerPct)
		if g.PaddingPct != nil {
			fmt.Fprintf(&b, "; padding %.1f %% of tokens", *g.PaddingPct)
		}
		b.WriteByte('\n')
	}
	for i := range v.Devices {
		fmt.Fprintf(&b, "GPU %-5d %s\n", v.Devices[i].GPU, device(&v.Devices[i], s))
	}
	return b.String() + "\n"
}

func kv(v *live.View) string {
	if v.KVUsed == nil || v.KVBlocks == nil || *v.KVBlocks == 0 {
		return "use unknown"
	}
	return fmt.Sprintf("%.1f %% (%d of %d blocks)", 100*float64(*v.KVUsed)/float64(*v.KVBlocks), *v.KVUsed, *v.KVBlocks)
}

func device(d *live.Device, s style) string {
	var parts []string
	say := func(format string, x *float64) {
		if x != nil {
			parts = append(parts, fmt.Sprintf(format, *x))
		}
	}
	if say("SM %.0f %%", d.SMPct); d.SMPct == nil {
		say("a kernel ran %.0f %%", d.UtilPct)
	}
	say("DRAM %.0f %%", d.DRAMPct)
	say("%.0f W", d.PowerW)
	say("%.0f MHz", d.SMClockMHz)
	say("%.0f °C", d.TemperatureC)
	if d.MemoryUsed != nil {
		parts = append(parts, fmt.Sprintf("%.1f GiB", float64(*d.MemoryUsed)/(1<<30)))
	}
	if len(d.Throttled) > 0 {
		parts = append(parts, s.alarm.Render("throttled: "+strings.Join(d.Throttled, ", ")))
	}
	return strings.Join(parts, ", ")
}

func steps(f *Frame, s style) string {
	t := newTable(s, "Steps", "/s", "requests", "tokens", "p50", "p99", "GPU p50", "p99")
	whole := float64(f.ToNS-f.FromNS) / 1e9
	for _, p := range f.Phases {
		t.Row("  "+p.Phase, rate(float64(p.Steps)/whole), rate(p.MeanRequests), rate(p.MeanTokens),
			percentile(&p.Step, p.Step.P50), percentile(&p.Step, p.Step.P99), percentile(&p.GPU, p.GPU.P50), percentile(&p.GPU, p.GPU.P99))
	}
	return rendered(t)
}

func latencies(f *Frame, s style) string {
	t := newTable(s, "Finished", "count", "p50", "p99", "max")
	for _, row := range []struct {
		name string
		p    *live.Percentiles
	}{{"to first token", &f.TTFT}, {"per output token", &f.TPOT}, {"queue", &f.Queue}, {"whole", &f.Total}} {
		t.Row("  "+row.name, strconv.FormatInt(row.p.Count, 10), percentile(row.p, row.p.P50), percentile(row.p, row.p.P99), percentile(row.p, float64(row.p.Max)))
	}
	return rendered(t)
}

// losses says what is missing in the figures; that nothing is, too.
func losses(f *Frame, s style) string {
	var b strings.Builder
	if f.Lost == 0 && len(f.Losses) == 0 {
		b.WriteString("Lost events  0\n")
	} else {
		var parts []string
		for _, l := range f.Losses {
			parts = append(parts, fmt.Sprintf("%d %s: %s", l.Count, l.Probe, l.Reason))
		}
		fmt.Fprintf(&b, "%s  %s\n", s.alarm.Render(fmt.Sprintf("Lost events  %d", f.Lost)), strings.Join(parts, ", "))
	}
	if f.Damaged > 0 {
		fmt.Fprintf(&b, "%s\n", s.alarm.Render(fmt.Sprintf("The journal is damaged in %d places: what was there is missing", f.Damaged)))
	}
	for _, u := range f.Unavailable {
		fmt.Fprintf(&b, "%s\n", s.faint.Render("Unavailable  "+u))
	}
	return b.String() + "\n"
}

func running(f *Frame, s style, rows int) string {
	if len(f.Longest) == 0 {
		return ""
	}
	t := newTable(s, fmt.Sprintf("Longest of %d unended", f.Unended), "age", "ttft", "prompt", "out", "state")
	for i := range f.Longest[:min(rows, len(f.Longest))] {
		r := &f.Longest[i]
		t.Row("  "+clean(r.ID), known(r.AgeNS), known(r.TTFTNS), number(r.PromptTokens), number(r.OutputTokens), r.State)
	}
	return rendered(t)
}

func slowest(f *Frame, s style, rows int) string {
	if len(f.Slowest) == 0 {
		return ""
	}
	t := newTable(s, "Slowest by "+string(f.SlowestBy), "whole", "ttft", "tpot", "queue", "prompt", "out", "preempted", "reason")
	for i := range f.Slowest[:min(rows, len(f.Slowest))] {
		r := &f.Slowest[i]
		t.Row("  "+clean(r.ID), known(r.TotalNS), known(r.TTFTNS), known(r.TPOTNS), known(r.QueueNS),
			number(r.PromptTokens), number(r.OutputTokens), strconv.Itoa(int(r.Preemptions)), r.Reason)
	}
	return rendered(t)
}

// newTable has names on the left and figures on the right.
func newTable(s style, headers ...string) *table.Table {
	return table.New().Headers(headers...).Border(lipgloss.HiddenBorder()).
		BorderTop(false).BorderBottom(false).BorderLeft(false).BorderRight(false).BorderHeader(false).BorderColumn(false).
		StyleFunc(func(row, column int) lipgloss.Style {
			cell := lipgloss.NewStyle()
			if row == table.HeaderRow {
				cell = s.bold
			}
			if column == 0 {
				return cell
			}
			return cell.PaddingLeft(2).Align(lipgloss.Right)
		})
}

// rendered lets go of the blanks that fill up the last column.
func rendered(t *table.Table) string {
	var b strings.Builder
	for line := range strings.Lines(t.String() + "\n") {
		b.WriteString(strings.TrimRight(line, " \n") + "\n")
	}
	return b.String() + "\n"
}
