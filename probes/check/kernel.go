package check

import (
	"fmt"
	"strconv"
	"strings"
)

// The oldest kernel with everything that the BPF programs cannot do without:
// bpf_link on perf events and bpf_get_attach_cookie (5.15); before them
// bpf_for_each_map_elem (5.13), ring buffer, CAP_BPF and CAP_PERFMON (5.8). A
// distribution may have brought them to an older one, so that they are tried.
const (
	needMajor = 5
	needMinor = 15
)

// NeedKernel is the kernel that pmtrace needs.
func NeedKernel() string { return fmt.Sprintf("%d.%d", needMajor, needMinor) }

func kernelRemedy() string {
	return "use a kernel of " + NeedKernel() + " or newer (Ubuntu 22.04, Debian 12, RHEL 9.2)"
}

func kernelFindings(m Machine) []Finding {
	release, arch := m.Uname()
	return []Finding{
		archFinding(arch),
		releaseFinding(release),
		btfFinding(m),
		lockdownFinding(m),
	}
}

func archFinding(arch string) Finding {
	f := Finding{ID: "arch", Name: "architecture", Needed: "x86_64"}
	switch arch {
	case "x86_64":
		return f.ok(arch)
	case "aarch64":
		return f.warn("aarch64: built, but never tested", "compare the results with the server's own log before you trust them")
	}
	return f.fail(arch, "run pmtrace on x86_64 Linux")
}

func releaseFinding(release string) Finding {
	f := Finding{ID: "kernel", Name: "kernel version", Needed: "Linux " + NeedKernel() + " or newer"}
	major, minor, ok := parseRelease(release)
	switch {
	case !ok:
		return f.warn(fmt.Sprintf("%q, which is no version that pmtrace can read", release), "")
	case major < needMajor || major == needMajor && minor < needMinor:
		return f.warn("Linux "+release+" is older: below is what it lacks", kernelRemedy())
	}
	return f.ok("Linux " + release)
}

func parseRelease(s string) (major, minor int, ok bool) {
	a, rest, ok := strings.Cut(s, ".")
	if !ok {
		return 0, 0, false
	}
	b := rest[:len(rest)-len(strings.TrimLeft(rest, "0123456789"))]
	major, err1 := strconv.Atoi(a)
	minor, err2 := strconv.Atoi(b)
	return major, minor, err1 == nil && err2 == nil
}

const btfFile = "/sys/kernel/btf/vmlinux"

func btfFinding(m Machine) Finding {
	f := Finding{ID: "btf", Name: "kernel type information (BTF)", Needed: btfFile}
	if !m.Exists(btfFile) {
		return f.fail("no "+btfFile, "use a kernel built with CONFIG_DEBUG_INFO_BTF=y (the distributions' kernels are)")
	}
	return f.ok("present")
}

const lockdownFile = "/sys/kernel/security/lockdown"

// lockdownFinding: integrity leaves all that pmtrace uses; confidentiality
// takes reading kernel memory away from BPF, which the programs do not do, but
// some kernels refuse more.
func lockdownFinding(m Machine) Finding {
	f := Finding{ID: "lockdown", Name: "kernel lockdown", Needed: "none or integrity"}
	mode := "none"
	if b, err := m.Read(lockdownFile); err == nil {
		if _, rest, ok := strings.Cut(string(b), "["); ok {
			mode, _, _ = strings.Cut(rest, "]")
		}
	}
	if mode == "confidentiality" {
		return f.warn(mode, "if loading fails, boot without lockdown=confidentiality")
	}
	return f.ok(mode)
}
