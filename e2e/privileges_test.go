//go:build e2e

package e2e

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/pmtrace/pmtrace/probes/check"
)

// A user of its own with the capabilities that are asked for, and none that could be
// gained, traces another user's server: what deploy/systemd gives the service.
func TestLeastPrivileges(t *testing.T) {
	b := shapeBench(t)
	out := filepath.Join(b.out, t.Name())
	fresh(t, out)
	if err := os.Chmod(out, 0o777); err != nil {
		t.Fatal(err)
	}
	names, _, _ := strings.Cut(check.FileCapabilities(), "+")
	caps := "-all,+" + strings.ReplaceAll(strings.ReplaceAll(names, "cap_", ""), ",", ",+")
	as := func(caps string, arguments ...string) *exec.Cmd {
		return exec.Command("setpriv", append([]string{"--reuid", "65534", "--regid", "65534", "--clear-groups", "--no-new-privs",
			"--inh-caps", caps, "--bounding-set", caps, "--ambient-caps", caps, b.pmtrace}, arguments...)...)
	}
	s := b.engine(t, "3.12", "server", "--steps", "500")
	store := filepath.Join(out, "fleet")
	pid := strconv.Itoa(s.pid)
	tr := &tracer{bench: b, cmd: as(caps, "attach", "--pid", pid, "--output-dir", filepath.Join(out, "sessions"), "--ship-to", store), done: make(chan struct{})}
	tr.cmd.Dir, tr.cmd.Stdout, tr.cmd.Stderr = b.repo, &tr.out, &tr.stderr
	if err := tr.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = tr.cmd.Wait(); close(tr.done) }()
	tr.says(t, "tracing engine")
	s.run(t)
	tr.stop(t, 0)
	shipped, complete := shippedSteps(t, store, filepath.Base(tr.session(t)))
	if want := s.steps(t); shipped != want || !complete {
		t.Errorf("the server made %d steps, %d are in the store (complete: %v)", want, shipped, complete)
	}
	// Each is needed: without it pmtrace says so, and which. The last one is for files that
	// only their owner may read, as this CPython's in root's home.
	if info, err := os.Stat("/root"); err == nil && info.Mode().Perm()&0o005 != 0 {
		names = strings.TrimSuffix(names, ",cap_dac_read_search")
	}
	for _, name := range strings.Split(names, ",") {
		without := strings.ReplaceAll(caps, ",+"+strings.TrimPrefix(name, "cap_"), "")
		text, err := as(without, "attach", "--pid", pid, "--output-dir", filepath.Join(out, "sessions"), "--duration", "2").CombinedOutput()
		if err == nil || !strings.Contains(string(text), strings.ToUpper(name)) && !strings.Contains(string(text), "not permitted") {
			t.Errorf("without %s: %v\n%s", name, err, text)
		}
	}
}

// held are the capability sets of all threads of a process, which must agree.
func held(t *testing.T, pid int) map[string]string {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(files) < 3 {
		t.Fatalf("%d threads of process %d: %v", len(files), pid, err)
	}
	all := map[string]string{}
	for _, file := range files {
		status, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		for line := range strings.Lines(string(status)) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), ":\t")
			switch name {
			case "CapInh", "CapPrm", "CapEff", "CapAmb", "NoNewPrivs":
				if before, ok := all[name]; ok && before != value {
					t.Errorf("%s: %s is %s, of another thread %s", file, name, value, before)
				}
				all[name] = value
			}
		}
	}
	return all
}

// Bits of linux/capability.h: DAC_READ_SEARCH, SYS_PTRACE, PERFMON, BPF.
const fourCapabilities = 1<<2 | 1<<19 | 1<<38 | 1<<39

// While it traces, pmtrace has the four capabilities and no others, in each thread, whoever
// runs it, and can get no others; and what it writes for the one who called sudo is that
// user's.
func TestPrivilegesWhileTracing(t *testing.T) {
	b := shapeBench(t)
	s := b.counted(t, "3.12")
	s.begin(t)
	caller := []string{"SUDO_UID=65534", "SUDO_GID=65534"}
	ambient := []string{"setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--inh-caps", "-all,+bpf,+perfmon,+sys_ptrace,+dac_read_search", "--ambient-caps", "-all,+bpf,+perfmon,+sys_ptrace,+dac_read_search"}
	for _, c := range []struct {
		name      string
		as        []string
		env       []string
		more      uint64 // than the four
		owner     uint32
		arguments []string
	}{
		{name: "root"},
		{name: "service", as: ambient, owner: 65534},
		{name: "sudo", env: caller, more: 1<<0 | 1<<1 | 1<<3, owner: 65534}, // CHOWN, DAC_OVERRIDE, FOWNER
		{name: "counters", arguments: []string{"--gpu-sampling", "windows"}, more: 1<<6 | 1<<7 | 1<<21},
	} {
		t.Run(c.name, func(t *testing.T) {
			out := filepath.Join(s.out, c.name)
			fresh(t, out)
			if err := os.Chown(out, int(c.owner), int(c.owner)); err != nil {
				t.Fatal(err)
			}
			argv := append(append(c.as, b.pmtrace, "attach", "--pid", strconv.Itoa(s.pid), "--output-dir", out), c.arguments...)
			tr := &tracer{bench: b, cmd: exec.Command(argv[0], argv[1:]...), done: make(chan struct{})}
			tr.cmd.Dir, tr.cmd.Stdout, tr.cmd.Stderr, tr.cmd.Env = b.repo, &tr.out, &tr.stderr, append(os.Environ(), c.env...)
			if err := tr.cmd.Start(); err != nil {
				t.Fatal(err)
			}
			go func() { _ = tr.cmd.Wait(); close(tr.done) }()
			tr.says(t, "tracing engine")
			got := held(t, tr.cmd.Process.Pid)
			want := fmt.Sprintf("%016x", fourCapabilities|c.more)
			none := strings.Repeat("0", 16)
			if got["CapEff"] != want || got["CapPrm"] != want || got["CapInh"] != none || got["CapAmb"] != none || got["NoNewPrivs"] != "1" {
				t.Errorf("%v, want %s effective and permitted", got, want)
			}
			s.makes(t, 100)
			tr.stop(t, 0)
			if n := stepsIn(t, tr.session(t)); n < 50 {
				t.Errorf("%d steps", n)
			}
			err := filepath.WalkDir(out, func(path string, e fs.DirEntry, err error) error {
				if err != nil {
					return err
				}
				info, err := e.Info()
				if err != nil {
					return err
				}
				stat := info.Sys().(*syscall.Stat_t)
				if stat.Uid != c.owner || path != out && info.Mode().Perm()&0o077 != 0 {
					t.Errorf("%s is of uid %d, mode %v", path, stat.Uid, info.Mode())
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
}
