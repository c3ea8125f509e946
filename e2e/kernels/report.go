package main

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pmtrace/pmtrace/probes/check"
)

func report(kernels []*Kernel) []byte {
	var b bytes.Buffer
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("# pmtrace on kernels")
	line("")
	line("Written by `make kernels`: each kernel is its distribution's own package, booted in a virtual machine")
	line("(QEMU, software emulation, 2 processors). There the tests ran that compare what pmtrace says with what")
	line("the traced program says itself: a number is how many of them passed, every value equal.")
	line("")
	heading := []string{""}
	for _, k := range kernels {
		heading = append(heading, major(k.Release))
	}
	table(line, heading, rows(kernels))
	line("")
	for _, k := range kernels {
		line("- **%s**: Linux %s of %s, %s", major(k.Release), k.Release, k.Origin, k.Date)
	}
	refusals(line, kernels)
	complexity(line, kernels, heading)
	return b.Bytes()
}

func major(release string) string {
	v := version(release)
	return fmt.Sprintf("%d.%d", v/1000, v%1000)
}

func table(line func(string, ...any), heading []string, rows [][]string) {
	line("| %s |", strings.Join(heading, " | "))
	line("|%s", strings.Repeat("---|", len(heading)))
	for _, r := range rows {
		line("| %s |", strings.Join(r, " | "))
	}
}

func rows(kernels []*Kernel) [][]string {
	var out [][]string
	row := func(name string, cell func(*Kernel) string) {
		r := []string{name}
		for _, k := range kernels {
			r = append(r, cell(k))
		}
		out = append(out, r)
	}
	row("`pmtrace check`", func(k *Kernel) string {
		if k.works() {
			return "works"
		}
		return "**refused**"
	})
	row("kernel type information (BTF)", func(k *Kernel) string { return k.finding("btf").Found })
	row("loops in BPF", func(k *Kernel) string {
		switch f := k.finding("bpf_loop"); {
		case f.Status != check.OK:
			return "no"
		case strings.Contains(f.Found, "bpf_for_each_map_elem"):
			return "by map"
		}
		return "bpf_loop"
	})
	for _, f := range features {
		row(f.Name, func(k *Kernel) string { return cell(&f, k) })
	}
	return out
}

func cell(f *Feature, k *Kernel) string {
	n := f.count(k)
	switch {
	case !k.works():
		return "–"
	case n[failed] > 0:
		return fmt.Sprintf("**%d of %d fail**", n[failed], n[failed]+n[passed])
	case n[passed] > 0:
		return fmt.Sprint(n[passed])
	case n[skipped] > 0:
		return "not here"
	}
	return "not tried"
}

func refusals(line func(string, ...any), kernels []*Kernel) {
	for _, k := range kernels {
		if k.works() {
			continue
		}
		line("")
		line("On %s `pmtrace record` says:", major(k.Release))
		line("")
		line("```")
		line("%s", k.Refusal)
		line("```")
		for _, f := range check.Failed(k.Findings) {
			line("")
			line("- %s: %s; needed: %s; remedy: %s", f.Name, f.Found, f.Needed, f.Remedy)
		}
	}
}

// complexity: how far the verifier's limit of a million instructions is.
func complexity(line func(string, ...any), kernels []*Kernel, heading []string) {
	line("")
	line("## Instructions that the verifier follows")
	line("")
	line("Of each program in the way of loading that takes most; the limit is 1,000,000. The oldest kernel's logs")
	line("are in [verifier-oldest.txt](verifier-oldest.txt), all counts in [results.json](results.json).")
	line("")
	names := map[string]bool{}
	counts := map[*Kernel]map[string]int{}
	for _, k := range kernels {
		counts[k] = k.dearest()
		for name := range counts[k] {
			names[name] = true
		}
	}
	var out [][]string
	for _, name := range slices.Sorted(maps.Keys(names)) {
		r := []string{"`" + name + "`"}
		for _, k := range kernels {
			n := "–"
			if c := counts[k][name]; c > 0 {
				n = fmt.Sprint(c)
			}
			r = append(r, n)
		}
		out = append(out, r)
	}
	table(line, heading, out)
}
