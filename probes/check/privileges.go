package check

import (
	"fmt"
	"strconv"
	"strings"
)

// capability is one that tracing uses.
type capability struct {
	id, name string
	bit      int
	or       []int // any of these does as well
	why      string
	needed   bool
}

// Bits from linux/capability.h.
const (
	capDACOverride   = 1
	capDACReadSearch = 2
	capSysPtrace     = 19
	capSysAdmin      = 21
	capPerfmon       = 38
	capBPF           = 39
)

func capabilities() []capability {
	return []capability{
		{"cap_bpf", "CAP_BPF", capBPF, []int{capSysAdmin}, "to load BPF programs and maps", true},
		{"cap_perfmon", "CAP_PERFMON", capPerfmon, []int{capSysAdmin}, "to watch another process with BPF and hardware breakpoints", true},
		{"cap_sys_ptrace", "CAP_SYS_PTRACE", capSysPtrace, nil, "to read the server's memory and its /proc files", true},
		// Reading /proc/PID/root needs CAP_SYS_PTRACE; the files below it are
		// the file system's business: an interpreter or a venv under a home of
		// mode 0700 needs this one.
		{"cap_dac_read_search", "CAP_DAC_READ_SEARCH", capDACReadSearch, []int{capDACOverride}, "to read a server's files where only their owner may (versions, symbols)", false},
	}
}

// privileges are what /proc/self/status says of this process.
type privileges struct {
	known      bool
	effective  uint64
	noNewPrivs bool
	seccomp    int
	container  bool
}

func readPrivileges(m Machine) privileges {
	var p privileges
	b, err := m.Read("/proc/self/status")
	if err != nil {
		return p
	}
	for line := range strings.Lines(string(b)) {
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch name {
		case "CapEff":
			p.effective, err = strconv.ParseUint(value, 16, 64)
			p.known = err == nil
		case "NoNewPrivs":
			p.noNewPrivs = value == "1"
		case "Seccomp":
			p.seccomp, _ = strconv.Atoi(value)
		}
	}
	p.container = m.Exists("/.dockerenv") || m.Exists("/run/.containerenv")
	return p
}

func (p privileges) has(c capability) bool {
	for _, bit := range append([]int{c.bit}, c.or...) {
		if p.effective&(1<<bit) != 0 {
			return true
		}
	}
	return false
}

// Privileged says whether this process has the capabilities that tracing needs.
func Privileged(m Machine) bool {
	p := readPrivileges(m)
	for _, c := range capabilities() {
		if c.needed && !p.has(c) {
			return false
		}
	}
	return true
}

// ReadsAll says whether this process may open files that only their owner may.
func ReadsAll(m Machine) bool {
	p := readPrivileges(m)
	for _, c := range capabilities() {
		if c.bit == capDACReadSearch {
			return p.has(c)
		}
	}
	return false
}

func (p privileges) findings(m Machine) []Finding {
	var out []Finding
	if !p.known {
		f := Finding{ID: "capabilities", Name: "capabilities", Needed: "/proc/self/status"}
		return []Finding{f.fail("cannot read them", "mount /proc")}
	}
	for _, c := range capabilities() {
		out = append(out, p.capability(m, c))
	}
	return append(out,
		p.noNewPrivsFinding(m),
		p.seccompFinding(),
		userNamespaceFinding(m),
		timeNamespaceFinding(m),
		sysctlFinding(m, "perf_event_paranoid", "/proc/sys/kernel/perf_event_paranoid"),
		sysctlFinding(m, "unprivileged_bpf_disabled", "/proc/sys/kernel/unprivileged_bpf_disabled"),
		yamaFinding(m),
		memlockFinding(m),
	)
}

func (p privileges) capability(m Machine, c capability) Finding {
	f := Finding{ID: c.id, Name: c.name, Needed: c.name + " " + c.why}
	switch {
	case p.has(c):
		return f.ok("present")
	case !c.needed:
		return f.warn("missing", p.remedy(m, c))
	}
	return f.fail("missing", p.remedy(m, c))
}

func (p privileges) remedy(m Machine, c capability) string {
	container := "start this container with --cap-add " + strings.TrimPrefix(c.name, "CAP_") + " (or --privileged), or run pmtrace on the host"
	switch {
	case p.container && m.EUID() == 0:
		return container
	case p.container:
		return "run it as root (sudo); if root lacks it too, " + container
	case m.EUID() == 0:
		return "root without " + c.name + ": something dropped it (a container, systemd's CapabilityBoundingSet, capsh); run pmtrace where root has it"
	}
	return "run it with sudo, or give the binary its capabilities once: sudo setcap " + FileCapabilities() + " pmtrace"
}

// FileCapabilities is the argument of setcap for the pmtrace binary.
func FileCapabilities() string {
	var names []string
	for _, c := range capabilities() {
		names = append(names, c.id)
	}
	return strings.Join(names, ",") + "+ep"
}

func (p privileges) noNewPrivsFinding(m Machine) Finding {
	f := Finding{ID: "no_new_privs", Name: "no_new_privs", Needed: "off, or the capabilities already there"}
	if p.noNewPrivs && m.EUID() != 0 {
		return f.warn("on: sudo and file capabilities have no effect here", "run pmtrace outside of this sandbox")
	}
	return f.ok(onOff(p.noNewPrivs))
}

func (p privileges) seccompFinding() Finding {
	f := Finding{ID: "seccomp", Name: "seccomp", Needed: "no filter on bpf and perf_event_open"}
	switch p.seccomp {
	case 0:
		return f.ok("off")
	case 2:
		return f.warn("a filter is on", "if loading fails below: docker run --security-opt seccomp=unconfined")
	}
	return f.fail(fmt.Sprintf("mode %d", p.seccomp), "run pmtrace outside of this sandbox")
}

// userNamespaceFinding: capabilities of another user namespace than the first
// do not count for BPF and perf.
func userNamespaceFinding(m Machine) Finding {
	f := Finding{ID: "user_namespace", Name: "user namespace", Needed: "the machine's own"}
	b, err := m.Read("/proc/self/uid_map")
	fields := strings.Fields(string(b))
	if err == nil && len(fields) >= 3 && (len(fields) > 3 || fields[2] != "4294967295") {
		return f.fail("another one (rootless container or unshare): its root is not root here", "run pmtrace on the host, or in a container with the host's user namespace")
	}
	return f.ok("the machine's own")
}

// timeNamespaceFinding: the kernel's programs know the kernel's clock alone. In a namespace
// whose clock is another one, events would seem to be from another time.
func timeNamespaceFinding(m Machine) Finding {
	f := Finding{ID: "time_namespace", Name: "time namespace", Needed: "the machine's own clocks"}
	b, err := m.Read("/proc/self/timens_offsets")
	if err != nil {
		return f.ok("the machine's own") // the kernel has none
	}
	for line := range strings.Lines(string(b)) {
		fields := strings.Fields(line)
		if len(fields) == 3 && fields[0] == "monotonic" && (fields[1] != "0" || fields[2] != "0") {
			return f.fail("another one: its monotonic clock is "+fields[1]+" s off", "run pmtrace in the host's time namespace: nsenter --time -t 1")
		}
	}
	return f.ok("the machine's own")
}

// sysctlFinding reports settings that the capabilities overrule.
func sysctlFinding(m Machine, id, file string) Finding {
	f := Finding{ID: id, Name: "kernel." + id, Needed: "any value: the capabilities overrule it"}
	b, err := m.Read(file)
	if err != nil {
		return f.ok("not set")
	}
	return f.ok(strings.TrimSpace(string(b)))
}

func yamaFinding(m Machine) Finding {
	f := Finding{ID: "yama", Name: "kernel.yama.ptrace_scope", Needed: "0, 1 or 2 (CAP_SYS_PTRACE overrules these)"}
	b, err := m.Read("/proc/sys/kernel/yama/ptrace_scope")
	switch v := strings.TrimSpace(string(b)); {
	case err != nil:
		return f.ok("not set")
	case v == "3":
		// process_vm_readv asks for PTRACE_MODE_ATTACH, which 3 gives to no
		// one, capabilities or not.
		return f.fail("3: no process may be read, by anyone", "boot with another kernel.yama.ptrace_scope; 3 cannot be undone on a running system")
	default:
		return f.ok(v)
	}
}

// memlockFinding: since 5.11 BPF memory is the cgroup's; the limit is still
// raised for the perf buffers.
func memlockFinding(m Machine) Finding {
	f := Finding{ID: "memlock", Name: "locked memory limit", Needed: "any (the kernel counts BPF memory by cgroup)"}
	n, err := m.Memlock()
	switch {
	case err != nil:
		return f.warn("unknown: "+err.Error(), "")
	case n == ^uint64(0):
		return f.ok("unlimited")
	}
	return f.ok(fmt.Sprintf("%d KiB", n>>10))
}

func onOff(b bool) string {
	if b {
		return "on"
	}
	return "off"
}
