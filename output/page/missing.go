package page

import (
	"strconv"
	"strings"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/session"
)

// absence says why something is not shown, and what would bring it.
type absence struct{ What, Reason, Remedy string }

// absences are the sections without data, by name.
type absences map[string][]absence

func (p *Page) absences() absences {
	d, facts := &p.data, p.summary.Facts
	list := absences{}
	if d.Steps == 0 {
		list["timelines"] = []absence{{Reason: "no step was seen: the server had nothing to do while it was traced"}}
	}
	if p.summary.GPU.Steps == 0 {
		list["gpu"] = why(facts, "no step has a time on the GPU", session.ProfilerForwardPass, session.ProfilerCUDAGraph)
	}
	if len(d.Devices) == 0 {
		list["devices"] = why(facts, "no sample of a GPU was taken", session.ProfilerGPU)
	}
	if len(d.Graphs) == 0 {
		list["graphs"] = why(facts, "of no step is known whether it ran CUDA graphs", session.ProfilerCUDAGraph)
	}
	if d.Experts == nil {
		list["experts"] = why(facts, "no choice of an expert was seen", session.ProfilerMoE)
	}
	if d.Kernels == nil {
		list["kernels"] = p.withoutKernels()
	}
	if d.Roofline == nil {
		list["roofline"] = p.withoutRoofline()
	}
	if d.Requests == nil {
		list["requests"] = []absence{{Reason: "no request was scheduled while the server was traced"}}
	}
	return list
}

// why collects what is known of the profilers that something needs; otherwise is said where
// nothing is.
func why(facts *session.Facts, otherwise string, profilers ...string) []absence {
	var list []absence
	for _, profiler := range profilers {
		if facts.Start.Profilers != nil && !facts.On(profiler) && profiler != session.ProfilerMoE { // which is asked for by a flag of its own
			list = append(list, absence{Reason: "the profiler " + profiler + " was not on"})
			continue
		}
		for _, u := range facts.WhyNot(profiler) {
			list = append(list, absence{Reason: u.Reason, Remedy: u.Remedy})
		}
	}
	if len(list) == 0 {
		list = []absence{{Reason: otherwise}}
	}
	return list
}

func (p *Page) withoutKernels() []absence {
	facts := p.summary.Facts
	if facts.Start.Mode != "record" {
		return []absence{{Reason: "single kernels can be seen from within the server only", Remedy: "pmtrace record -- COMMAND tells of them for a second of each minute"}}
	}
	var list []absence
	for _, profiler := range []string{session.ProfilerKernels, session.CUPTI} {
		for _, u := range facts.WhyNot(profiler) {
			list = append(list, absence{Reason: u.Reason, Remedy: u.Remedy})
		}
	}
	if len(list) == 0 {
		list = []absence{{Reason: "no kernel was told of: no window was open while there was work, or --kernels was off", Remedy: "pmtrace record --kernels 1s/10s -- COMMAND"}}
	}
	return list
}

func (p *Page) withoutRoofline() []absence {
	if p.summary.GPU.Steps == 0 {
		return why(p.summary.Facts, "no step has a time on the GPU", session.ProfilerForwardPass, session.ProfilerCUDAGraph)
	}
	return []absence{{Reason: "what the model needs for a step is not known: its config was not read, or is of a kind that pmtrace cannot count"}}
}

// unavailable is all that could not be filled.
func (p *Page) unavailable() []absence {
	var list []absence
	for _, u := range p.summary.Facts.Missing() {
		list = append(list, absence{nameOf(&u), u.Reason, u.Remedy})
	}
	return list
}

func nameOf(u *record.Unavailable) string {
	name := u.Profiler
	if len(u.Columns) > 0 {
		name += " (" + strings.Join(u.Columns, ", ") + ")"
	}
	if u.Engine != nil {
		name += " of engine " + strconv.Itoa(*u.Engine)
	}
	return name
}
