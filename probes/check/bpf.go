package check

import (
	"errors"
	"fmt"
	"syscall"
	"time"
)

// watchWrites is how often the trial watchpoint is written to: often enough to tell
// what a hit takes.
const watchWrites = 200

// dearHit is more than a hit takes on a machine that is no virtual one.
const dearHit = 5 * time.Microsecond

// bpfFindings tries what the tracer will do, on ourselves. Where something
// before it already failed, trying only says the same again.
func bpfFindings(m Machine, try bool) []Finding {
	watch := Finding{ID: "watchpoint", Name: "hardware breakpoint with BPF", Needed: "a hit for each access (perf breakpoint, bpf_link with a cookie: Linux 5.15)"}
	slots := Finding{ID: "slots", Name: "hardware breakpoint slots", Needed: "4 a thread"}
	const later = "not tried: see the failures above"
	features := featureFindings(m, try)
	if len(Failed(features)) > 0 {
		try = false
	}
	if !try {
		return append(features, watch.warn(later, ""), slots.warn(later, ""))
	}
	return append(features, watchFinding(m, watch), slotsFinding(m, slots, 0))
}

func tried(f Finding, err error) Finding {
	if err == nil {
		return f.ok("works")
	}
	return f.fail(err.Error(), bpfRemedy(err))
}

func bpfRemedy(err error) string {
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) {
		return "something forbids it although the capabilities are there: a seccomp filter, an LSM policy (SELinux, AppArmor) or kernel lockdown; see dmesg and the audit log"
	}
	return kernelRemedy()
}

func watchFinding(m Machine, f Finding) Finding {
	hits, each, err := m.Watch(watchWrites)
	switch {
	case errors.Is(err, syscall.ENOSPC):
		return f.warn("all slots of our own thread are taken", slotsRemedy)
	case err != nil:
		return tried(f, err)
	case hits != watchWrites:
		return f.fail(fmt.Sprintf("%d hits for %d accesses", hits, watchWrites), "this (virtual) machine does not deliver hardware breakpoints exactly: turn on debug registers in the hypervisor, or use another machine")
	}
	found := fmt.Sprintf("works: %d hits for %d accesses, %.1f µs each", hits, watchWrites, each.Seconds()*1e6)
	if each > dearHit { // an exit to the hypervisor
		found += ", as in a virtual machine; a step of a server has 4 and more (fewer with --profilers batch)"
	}
	return f.ok(found)
}

const slotsRemedy = "end other users of hardware breakpoints: debuggers (gdb watch), perf record -e mem:…, another pmtrace"

// wantSlots is what a full trace of an engine uses; see DESIGN for what is lost
// with fewer.
const wantSlots = 4

func slotsFinding(m Machine, f Finding, tid int) Finding {
	n, err := m.FreeSlots(tid)
	switch {
	case err != nil:
		return f.fail(err.Error(), bpfRemedy(err))
	case n == 0:
		return f.fail("are all taken", slotsRemedy)
	case n < wantSlots:
		return f.warn(fmt.Sprintf("%d of %d free: some columns will be null", n, wantSlots), slotsRemedy)
	}
	return f.ok(fmt.Sprintf("%d free", n))
}
