package main

import (
	"fmt"
	"strings"

	"github.com/pmtrace/pmtrace/e2e/kept"
	"github.com/pmtrace/pmtrace/e2e/machine"
)

// Results are all that was measured: results.json.
type Results struct {
	Machine Machine     `json:"machine"`
	Step    []StepCost  `json:"step,omitempty"`
	Tracer  *TracerCost `json:"tracer,omitempty"`
	Long    *Long       `json:"long,omitempty"`
	Decode  *Decode     `json:"decode,omitempty"`
	Attach  *Start      `json:"attach,omitempty"`
	Server  *Paired     `json:"server,omitempty"`
	Worst   *Paired     `json:"worst,omitempty"`
}

// Machine says where and when, and with what.
type Machine struct {
	machine.Machine
	Quick  bool   `json:"quick"`
	VLLM   string `json:"vllm"`
	Python string `json:"shape_python"`
}

func thisMachine(vllm string, quick bool) (Machine, error) {
	m, err := machine.This()
	return Machine{m, quick, vllm, shapePython}, err
}

const resultsName = "results" // .json, and .md in capitals

func readResults(dir string, keep bool) (*Results, error) {
	r := &Results{}
	if !keep {
		return r, nil
	}
	return r, kept.Read(dir, resultsName, r)
}

func (r *Results) write(dir string) error { return kept.Write(dir, resultsName, r, r.markdown()) }

// markdown is RESULTS.md.
func (r *Results) markdown() string {
	var w report
	w.line("# What tracing costs")
	w.line("")
	w.line("Written by `make bench`; the figures are results.json's. Nothing else ran on the machine that took much of it.")
	w.line("")
	m := r.Machine
	where := "bare metal"
	if m.Hypervisor {
		where = "a virtual machine, which makes each breakpoint's trap and each context switch of a watched thread dearer"
	}
	w.line("%s: %s, %d cores, %.0f GiB, %s; Linux %s; vLLM %s on the CPU with a tiny model, run in the engine's own process; the program of vLLM's shape on CPython %s; %s.",
		m.Date, m.CPU, m.Cores, m.MemoryGiB, where, m.Kernel, m.VLLM, m.Python, m.Go)
	if m.Quick {
		w.line("")
		w.line("A quick run: the figures are rough.")
	}
	w.targets(r)
	w.step(r.Step)
	w.paired(r)
	w.long(r.Long)
	return w.String()
}

// report is a Markdown text.
type report struct{ strings.Builder }

func (w *report) line(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }
