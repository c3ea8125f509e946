package check

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/go-quicktest/qt"
)

func withGPU(m *fake, adminOnly string) {
	m.files[driverFile] = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.159.04  Release Build\nGCC version: gcc 12\n"
	m.files[driverParams] = "EnableMSI: 1\nRmProfilingAdminOnly: " + adminOnly + "\n"
}

func options() Options {
	return Options{OutputDir: "/tmp/x", Targets: []Target{{PID: 7, Threads: []int{7}}}}
}

func TestHealthy(t *testing.T) {
	ids := map[string]bool{}
	for _, f := range Run(healthy(), options()) {
		qt.Check(t, qt.Equals(f.Status, OK), qt.Commentf("%+v", f))
		qt.Check(t, qt.Not(qt.Equals(f.Needed, "")), qt.Commentf("%+v", f))
		qt.Check(t, qt.IsFalse(ids[f.ID]), qt.Commentf("%s twice", f.ID))
		ids[f.ID] = true
	}
}

// Each thing that may be wrong has one finding, and says what to do.
func TestFindings(t *testing.T) {
	for _, c := range []struct {
		name   string
		spoil  func(*fake)
		id     string
		status Status
		found  string
		remedy string
	}{
		{"arm64", func(m *fake) { m.arch = "aarch64" }, "arch", Warn, "never tested", "compare"},
		{"riscv", func(m *fake) { m.arch = "riscv64" }, "arch", Fail, "riscv64", "x86_64"},
		{"old kernel", func(m *fake) { m.release = "5.14.0-101" }, "kernel", Warn, "5.14.0-101 is older", "5.15"},
		{"just new enough", func(m *fake) { m.release = "5.15.0" }, "kernel", OK, "5.15.0", ""},
		{"older major", func(m *fake) { m.release = "4.19.300" }, "kernel", Warn, "4.19", "5.15"},
		{"newer major", func(m *fake) { m.release = "10.1-rc1" }, "kernel", OK, "10.1", ""},
		{"odd release", func(m *fake) { m.release = "next" }, "kernel", Warn, "next", ""},
		{"no BTF", func(m *fake) { delete(m.files, btfFile) }, "btf", Fail, "no /sys/kernel/btf/vmlinux", "CONFIG_DEBUG_INFO_BTF"},
		{"lockdown", func(m *fake) { m.files[lockdownFile] = "none integrity [confidentiality]" }, "lockdown", Warn, "confidentiality", "lockdown"},
		{"lockdown integrity", func(m *fake) { m.files[lockdownFile] = "none [integrity] confidentiality" }, "lockdown", OK, "integrity", ""},
		{"no_new_privs", func(m *fake) { m.files["/proc/self/status"] = status(allCaps, 1, 0); m.euid = 1000 }, "no_new_privs", Warn, "no effect", "sandbox"},
		{"seccomp", func(m *fake) { m.files["/proc/self/status"] = status(allCaps, 0, 2) }, "seccomp", Warn, "filter", "seccomp=unconfined"},
		{"seccomp strict", func(m *fake) { m.files["/proc/self/status"] = status(allCaps, 0, 1) }, "seccomp", Fail, "mode 1", "sandbox"},
		{"user namespace", func(m *fake) { m.files["/proc/self/uid_map"] = "0 100000 65536\n" }, "user_namespace", Fail, "another one", "host"},
		{"yama", func(m *fake) { m.files["/proc/sys/kernel/yama/ptrace_scope"] = "3\n" }, "yama", Fail, "3", "boot"},
		{"yama 1", func(m *fake) { m.files["/proc/sys/kernel/yama/ptrace_scope"] = "1\n" }, "yama", OK, "1", ""},
		{"no proc", func(m *fake) { delete(m.files, "/proc/self/status") }, "capabilities", Fail, "cannot read", "mount /proc"},
		{"load refused", func(m *fake) { m.lack(PerfEventProgram, syscall.EPERM) }, "bpf_program", Fail, "not permitted", "seccomp"},
		{"loops refused", func(m *fake) { m.lack(Loop, syscall.EPERM) }, "bpf_loop", Fail, "not permitted", "seccomp"},
		{"no bpf_loop", func(m *fake) { m.lack(Loop, ebpf.ErrNotSupported) }, "bpf_loop", OK, "by bpf_for_each_map_elem", ""},
		{"no loops at all", func(m *fake) { m.old("5.10.0-32-amd64", Loop, LoopByMap) }, "bpf_loop", Fail, "not in Linux 5.10.0-32-amd64", "5.15"},
		{"no cookies", func(m *fake) { m.old("5.14.21", AttachCookie) }, "bpf_cookie", Fail, "not in Linux 5.14.21", "5.15"},
		{"and so nothing is watched", func(m *fake) { m.old("5.14.21", AttachCookie) }, "watchpoint", Warn, "not tried", ""},
		{"no uprobe_multi", func(m *fake) { m.lack(UprobeMulti, ebpf.ErrNotSupported) }, "uprobe_multi", OK, "plain uprobes instead", ""},
		{"uprobe_multi refused", func(m *fake) { m.lack(UprobeMulti, syscall.EPERM) }, "uprobe_multi", Warn, "not permitted", "seccomp"},
		{"no uprobes", func(m *fake) { delete(m.files, uprobeType) }, "uprobes", Warn, "no CUDA graphs", "CONFIG_UPROBE_EVENTS"},
		{"no GPU", func(*fake) {}, "gpu_driver", OK, "none here", ""},
		{"GPU", func(m *fake) { withGPU(m, "1") }, "gpu_driver", OK, "580.159.04", ""},
		{"counters of root", func(m *fake) { withGPU(m, "1") }, "gpu_counters", Warn, "gives up root's rights", "NVreg_RestrictProfilingToAdminUsers"},
		{"counters for all", func(m *fake) { withGPU(m, "0"); m.euid = 1000 }, "gpu_counters", OK, "all users", ""},
		{"counters not for us", func(m *fake) { withGPU(m, "1"); m.euid = 1000 }, "gpu_counters", Warn, "root only", "NVreg_RestrictProfilingToAdminUsers"},
		{"counters unknown", func(m *fake) { withGPU(m, "1"); delete(m.files, driverParams) }, "gpu_counters", Warn, "cannot tell", ""},
		{"no ring buffer", func(m *fake) { m.old("5.4.0", RingBuffer) }, "ring_buffer", Fail, "not in Linux 5.4.0", "kernel"},
		{"no links", func(m *fake) { m.watchErr = syscall.EINVAL }, "watchpoint", Fail, "invalid", "kernel"},
		{"watchpoints do not fire", func(m *fake) { m.hits = 0 }, "watchpoint", Fail, "0 hits for 200", "hypervisor"},
		{"own slots taken", func(m *fake) { m.watchErr = syscall.ENOSPC }, "watchpoint", Warn, "taken", "gdb"},
		{"slots", func(m *fake) { m.slots = map[int]int{0: 0} }, "slots", Fail, "all taken", "gdb"},
		{"its slots, some", func(m *fake) { m.slots = map[int]int{7: 1} }, "target_slots", Warn, "1 of 4", "gdb"},
		{"its slots, all", func(m *fake) { m.slots = map[int]int{7: 0} }, "target_slots", Fail, "all taken", "gdb"},
		{"unreadable", func(m *fake) { m.peek = os.ErrPermission }, "target_memory", Fail, "permission", "sudo"},
		{"not writable", func(m *fake) { m.writable = os.ErrPermission }, "output_dir", Fail, "permission", "--output-dir"},
		{"nearly full", func(m *fake) { m.free = 5 << 20 }, "output_dir", Warn, "5 MiB", "room"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := healthy()
			c.spoil(m)
			for _, f := range Run(m, options()) {
				if f.ID != c.id {
					continue
				}
				qt.Check(t, qt.Equals(f.Status, c.status))
				qt.Check(t, qt.StringContains(f.Found, c.found))
				qt.Check(t, qt.StringContains(f.Remedy, c.remedy))
				return
			}
			t.Fatalf("no finding %s", c.id)
		})
	}
}

func TestMissingCapability(t *testing.T) {
	for _, c := range capabilities() {
		for _, where := range []struct {
			name   string
			euid   int
			inside bool
			remedy string
		}{
			{"user", 1000, false, "sudo setcap cap_bpf,cap_perfmon,cap_sys_ptrace,cap_dac_read_search+ep"},
			{"root", 0, false, "root without " + c.name},
			{"container", 0, true, "--cap-add " + strings.TrimPrefix(c.name, "CAP_")},
			{"user in a container", 1000, true, "sudo"},
		} {
			t.Run(c.id+" "+where.name, func(t *testing.T) {
				m := healthy()
				m.euid = where.euid
				m.files["/proc/self/status"] = status(allCaps&^(1<<c.bit), 0, 0)
				if where.inside {
					m.files["/.dockerenv"] = ""
				}
				want := Fail
				if !c.needed {
					want = Warn
				}
				for _, f := range Run(m, options()) {
					if f.ID != c.id {
						continue
					}
					qt.Check(t, qt.Equals(f.Status, want))
					qt.Check(t, qt.StringContains(f.Needed, c.name))
					qt.Check(t, qt.StringContains(f.Remedy, where.remedy))
				}
				qt.Check(t, qt.Equals(Privileged(m), !c.needed))
				qt.Check(t, qt.Equals(len(m.tried) == 0, c.needed), qt.Commentf("tried BPF"))
			})
		}
	}
}

// CAP_SYS_ADMIN is what older setups give instead of CAP_BPF and CAP_PERFMON.
func TestSysAdmin(t *testing.T) {
	m := healthy()
	m.files["/proc/self/status"] = status(1<<capSysAdmin|1<<capSysPtrace|1<<capDACOverride, 0, 0)
	qt.Check(t, qt.HasLen(Failed(Run(m, options())), 0))
	qt.Check(t, qt.IsTrue(Privileged(m)))
}

func TestParseRelease(t *testing.T) {
	for s, want := range map[string]string{
		"6.18.44-fc": "6 18 true", "5.17": "5 17 true", "5.17-rc1": "5 17 true",
		"5": "0 0 false", "a.b": "0 0 false", "": "0 0 false", "5.": "5 0 false",
	} {
		a, b, ok := parseRelease(s)
		got := fmt.Sprint(a, b, ok)
		if !ok {
			got = strings.TrimSuffix(got, "true")
		}
		qt.Check(t, qt.Equals(got, want), qt.Commentf("%q", s))
	}
}
