package session

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/pmtrace/pmtrace/decode/kernel"
	"github.com/pmtrace/pmtrace/decode/record"
)

// KernelSummary says what the GPU's kernels were for, in the windows in which they were told.
// Engines are added up.
type KernelSummary struct {
	NS      int64
	Classes map[string]*ClassSummary
	Longest []record.KernelClassRow // of those with a name, the most time first
}

// ClassSummary is a class of kernels.
type ClassSummary struct {
	Kernels, NS int64
	// Bandwidth of those whose traffic is known, and for how long they ran; Estimated: by
	// regression, in part at least.
	MovedBytes float64
	ErrorBytes float64 // by how much these may be off
	MovedNS    int64
	Peak       float64 // share of the memory's peak bandwidth, times MovedNS
	Estimated  bool
}

const (
	longestKernels = 5
	// shownClass is the share of the time, in percent, from which a class is shown.
	shownClass = 0.5
)

func (k *KernelSummary) add(r *record.KernelClassRow) {
	if r.Name != nil {
		k.Longest = append(k.Longest, *r)
		slices.SortStableFunc(k.Longest, func(a, b record.KernelClassRow) int { return cmp.Compare(b.DurNS, a.DurNS) })
		k.Longest = k.Longest[:min(len(k.Longest), longestKernels)]
		return
	}
	if k.Classes == nil {
		k.Classes = map[string]*ClassSummary{}
	}
	c := k.Classes[r.Class]
	if c == nil {
		c = &ClassSummary{}
		k.Classes[r.Class] = c
	}
	k.NS += r.DurNS
	c.Kernels += r.Kernels
	c.NS += r.DurNS
	if r.DRAMReadBps != nil && r.DRAMWriteBps != nil {
		c.MovedNS += r.DurNS
		c.MovedBytes += (*r.DRAMReadBps + *r.DRAMWriteBps) * float64(r.DurNS) / 1e9
		if r.DRAMErrorBps != nil {
			c.ErrorBytes += *r.DRAMErrorBps * float64(r.DurNS) / 1e9
		}
		c.Estimated = c.Estimated || known(r.Method) == "regression"
		if r.BandwidthShare != nil {
			c.Peak += *r.BandwidthShare * float64(r.DurNS)
		}
	}
}

func (k *KernelSummary) lines() []string {
	if k.NS == 0 {
		return nil
	}
	names := sortedKeys(k.Classes)
	slices.SortStableFunc(names, func(a, b string) int { return cmp.Compare(k.Classes[b].NS, k.Classes[a].NS) })
	var parts []string
	for _, name := range names {
		if c := k.Classes[name]; 100*float64(c.NS) >= shownClass*float64(k.NS) {
			parts = append(parts, fmt.Sprintf("%s %.1f%%%s", name, ratio(c.NS, k.NS), c.bandwidth()))
		}
	}
	lines := []string{strings.Join(parts, ", ") + fmt.Sprintf("; of %s in windows", Duration(float64(k.NS)))}
	parts = nil
	for _, r := range k.Longest {
		parts = append(parts, fmt.Sprintf("%s %.1f%%", shortKernel(*r.Name), ratio(r.DurNS, k.NS)))
	}
	return append(lines, "longest: "+strings.Join(parts, ", "))
}

func (c *ClassSummary) bandwidth() string {
	if c.MovedNS == 0 || c.MovedBytes <= c.ErrorBytes {
		return ""
	}
	about := ""
	if c.Estimated {
		about = "about "
	}
	text := fmt.Sprintf(" (%s%.0f GB/s", about, c.MovedBytes/float64(c.MovedNS))
	if c.Peak > 0 {
		text += fmt.Sprintf(", %.0f%% of peak", 100*c.Peak/float64(c.MovedNS))
	}
	return text + ")"
}

// shortKernel is as much of a kernel's name as fits.
func shortKernel(name string) string {
	const most = 40
	if f := kernel.Classify(name).Function; f != "" {
		name = f
	}
	if len(name) > most {
		return name[:most] + "…"
	}
	return name
}
