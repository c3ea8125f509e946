package check

import (
	"errors"

	"github.com/cilium/ebpf"
)

// Feature is something of the kernel's BPF that the programs use.
type Feature int

const (
	PerfEventProgram Feature = iota
	RingBuffer
	AttachCookie
	Loop
	LoopByMap
	UprobeMulti
)

// featureFindings try what the programs use, whatever the kernel's version says. Where
// something before it already failed, trying only says the same again.
func featureFindings(m Machine, try bool) []Finding {
	program := Finding{ID: "bpf_program", Name: "BPF programs on perf events", Needed: "loading one"}
	ring := Finding{ID: "ring_buffer", Name: "BPF ring buffer", Needed: "a ring buffer map (Linux 5.8)"}
	cookie := Finding{ID: "bpf_cookie", Name: "bpf_get_attach_cookie", Needed: "it (Linux 5.15)"}
	loop := Finding{ID: "bpf_loop", Name: "loops in BPF", Needed: "bpf_loop (Linux 5.17) or bpf_for_each_map_elem (5.13)"}
	multi := Finding{ID: "uprobe_multi", Name: "uprobe_multi", Needed: "for probes that other processes do not hit (Linux 6.6)"}
	if !try {
		const later = "not tried: see the failures above"
		return []Finding{program.warn(later, ""), ring.warn(later, ""), cookie.warn(later, ""), loop.warn(later, ""), multi.warn(later, "")}
	}
	return []Finding{
		feature(m, program, PerfEventProgram),
		feature(m, ring, RingBuffer),
		feature(m, cookie, AttachCookie),
		loopFinding(m, loop),
		multiFinding(m, multi),
	}
}

func feature(m Machine, f Finding, which Feature) Finding {
	err := m.BPF(which)
	if errors.Is(err, ebpf.ErrNotSupported) {
		return f.fail(notIn(m), kernelRemedy())
	}
	return tried(f, err)
}

func notIn(m Machine) string {
	release, _ := m.Uname()
	return "not in Linux " + release
}

func loopFinding(m Machine, f Finding) Finding {
	if err := m.BPF(Loop); !errors.Is(err, ebpf.ErrNotSupported) {
		return tried(f, err)
	}
	if f = feature(m, f, LoopByMap); f.Status == OK {
		return f.ok("works, by bpf_for_each_map_elem")
	}
	return f
}

// multiFinding: plain uprobes see and count the same.
func multiFinding(m Machine, f Finding) Finding {
	err := m.BPF(UprobeMulti)
	switch {
	case err == nil:
		return f.ok("works")
	case errors.Is(err, ebpf.ErrNotSupported):
		return f.ok(notIn(m) + ": plain uprobes instead, which other processes with the same library hit as well")
	}
	return f.warn(err.Error()+": plain uprobes instead", bpfRemedy(err))
}
