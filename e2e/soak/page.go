package main

import (
	"fmt"
	"strings"

	"github.com/pmtrace/pmtrace/e2e/soak/steady"
)

// page is RESULTS.md.
func (r *results) page() string {
	var b strings.Builder
	b.WriteString("# Endurance\n\nWritten by `make soak`; the figures are results.json's.\n\n")
	fmt.Fprintf(&b, "%s. Other work ran on the machine meanwhile.\n\n", r.Machine)
	b.WriteString("Flat means: at last there is no more than at first, and the bound. At first and at last are medians: of the\n" +
		"second and the last third of the simulated time (a day each), and of a fifth of the real time behind ten minutes\n" +
		"of warm-up. The slope is that of the line through all values. What is not flat, lost, or counted otherwise fails the run.\n")
	if r.Simulated != nil {
		simulated(&b, r.Simulated)
	}
	if r.Real != nil {
		realServer(&b, r.Real)
	}
	return b.String()
}

func simulated(b *strings.Builder, s *steady.Simulated) {
	fmt.Fprintf(b, `
## %.0f simulated hours

Two engines of a simulated server: one with a GPU, a step of up to 32 requests each %.0f ms, of which nothing is lost; one of
which the ring loses events now and then. Five times as many requests come at noon as at midnight. The wall clock
drifts by %.0f ppm, and NTP sets it by %.1f s half-way. All of it went through journal, decoding, joining and
tables, as in a trace, in %.0f minutes.

`, s.Hours, s.StepMS, s.DriftPPM, s.StepS, s.TookS/60)
	t := s.Totals
	table(b, "the engine of which nothing is lost", "in the tables, and counted by the simulation", [][2]string{
		{"steps", number(t.Steps)},
		{"tokens scheduled, handed out", number(t.Tokens) + ", " + number(t.OutputTokens)},
		{"requests, rows of step_requests", number(t.Requests) + ", " + number(t.StepRequests)},
		{"preemptions", number(t.Preemptions)},
		{"KV operations, blocks, evictions", number(t.Usage) + ", " + number(t.Blocks) + ", " + number(t.Evictions)},
		{"replays of graphs, kernels outside of them", number(t.Replays) + ", " + number(t.Launches)},
	})
	table(b, "of both", "", [][2]string{
		{"events lost by the ring, in `losses`", fmt.Sprintf("%s of %s", number(s.Lost), number(s.Dropped))},
		{"records of the journal, read back", fmt.Sprintf("%s in %d files, %.0f MiB", number(s.Records), s.JournalFiles, s.JournalMiB)},
		{"rows of all tables", fmt.Sprintf("%s in %d parts, %.0f MiB", number(s.Rows), s.Parts, s.ParquetMiB)},
		{"arrivals, told by the wall clock, off by at most", fmt.Sprintf("%.1f ms; 12 are the drift between two readings of the clock", s.ArrivalOffMS)},
		{"arrivals off by the clock's step", fmt.Sprintf("%d, of the moment that it showed twice", s.AroundStep)},
		{"the journal's last file cut short", "one damage, all before it read"},
	})
	trends(b, [][2]any{{"anonymous memory, MiB (the simulation's as well)", s.Anon}, {"heap in use, MiB", s.Heap}, {"objects in use", s.Objects}})
	b.WriteString("\n| simulated hour | anonymous memory, MiB | heap in use, MiB | objects in use |\n|---|---|---|---|\n")
	for _, l := range s.Looks {
		fmt.Fprintf(b, "| %.1f | %.1f | %.1f | %.0f |\n", l.Hours, l.Anon, l.Heap, l.Objects)
	}
	fmt.Fprintf(b, "\nBehind the end, with the summary made: %.1f MiB.\n", s.AtEndMiB)
	if s.Note != "" {
		fmt.Fprintf(b, "\n%s\n", s.Note)
	}
}

func realServer(b *strings.Builder, r *steady.Real) {
	fmt.Fprintf(b, `
## %.0f minutes of a real server

vLLM %s on the CPU with a tiny model, CPython %s, `+"`pmtrace attach --rotate %s`"+` with all else at its default, a load of
`+"`load.py %s`"+`.

`, r.Minutes, r.VLLM, r.Python, r.Rotate, r.Load)
	table(b, "compared with the server's log, its /metrics and the clients", "", [][2]string{
		{"steps, requests, preemptions, evictions", fmt.Sprintf("%s, %s, %s, %s", number(r.Steps), number(r.Requests), number(r.Preemptions), number(r.Evictions))},
		{"checks, mismatches", fmt.Sprintf("%d, **%d**", r.Checks, r.Mismatches)},
		{"events lost", fmt.Sprintf("**%d**", r.Lost)},
		{"rows of all tables", fmt.Sprintf("%s in %d parts", number(r.Rows), r.Parts)},
		{"decoded again from the journal", "the same bytes"},
		{"disk", fmt.Sprintf("%.1f MiB an hour", r.DiskPerHour)},
		{"the server's share of a core", fmt.Sprintf("%.0f %%", r.ServerCPU)},
	})
	trends(b, [][2]any{
		{"pmtrace: anonymous memory, MiB", r.Anon}, {"memory of files, MiB", r.File}, {"open files", r.Files},
		{"threads", r.Threads}, {"share of a core, %", r.CPU}, {"the server: anonymous memory, MiB", r.Server},
	})
	b.WriteString("\n| clocks | first tenth | last tenth | may differ by | readings each |\n|---|---|---|---|---|\n")
	for _, c := range r.Clocks {
		fmt.Fprintf(b, "| %s | %.2f ms | %.2f ms | %.0f ms | %d |\n", c.What, c.Early, c.Late, c.Bound, c.Pairs)
	}
	b.WriteString("\n| minute | anonymous, files, MiB | CPU, s | open files | threads | session, MiB | files of it | the server, MiB |\n|---|---|---|---|---|---|---|---|\n")
	for _, s := range r.Samples {
		fmt.Fprintf(b, "| %.0f | %.1f, %.1f | %.1f | %d | %d | %.1f | %d | %.0f |\n", s.Hours*60, mib(s.Tracer.Anon), mib(s.Tracer.File),
			s.Tracer.CPU, s.Tracer.Files, s.Tracer.Threads, mib(s.Disk), s.Files, mib(s.Server.Anon))
	}
}

func mib(bytes int64) float64 { return float64(bytes) / (1 << 20) }

func table(b *strings.Builder, left, right string, rows [][2]string) {
	fmt.Fprintf(b, "| %s | %s |\n|---|---|\n", left, right)
	for _, r := range rows {
		fmt.Fprintf(b, "| %s | %s |\n", r[0], r[1])
	}
	b.WriteString("\n")
}

func trends(b *strings.Builder, rows [][2]any) {
	b.WriteString("| | at first | at last | most | slope an hour | bound | values |\n|---|---|---|---|---|---|---|\n")
	for _, r := range rows {
		t := r[1].(steady.Trend)
		bound := fmt.Sprintf("+%.0f", t.Bound)
		if t.Bound == 0 {
			bound = "shown alone"
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s | %+.2f | %s | %d |\n", r[0], figure(t.Early), figure(t.Late), figure(t.Most), t.PerHour, bound, t.Values)
	}
}

// figure is whole where it is large.
func figure(v float64) string {
	if v < 10_000 {
		return fmt.Sprintf("%.1f", v)
	}
	return number(int64(v))
}

// number has its thousands apart.
func number(n int64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
