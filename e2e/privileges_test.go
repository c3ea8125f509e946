//go:build e2e

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
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
	// Each of the first three is needed: without it pmtrace says so, and which.
	for _, name := range strings.Split(names, ",")[:3] {
		without := strings.ReplaceAll(caps, ",+"+strings.TrimPrefix(name, "cap_"), "")
		text, err := as(without, "attach", "--pid", pid, "--output-dir", filepath.Join(out, "sessions"), "--duration", "2").CombinedOutput()
		if err == nil || !strings.Contains(string(text), strings.ToUpper(name)) && !strings.Contains(string(text), "not permitted") {
			t.Errorf("without %s: %v\n%s", name, err, text)
		}
	}
}
