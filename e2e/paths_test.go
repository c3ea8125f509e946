//go:build e2e

package e2e

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// attack swaps what a session is made of with links to a victim's files, as fast as a user
// who owns the sessions' directory can.
const attack = `cd "$1"; while :; do for s in session_*; do for n in journal parquet pmtrace.log metadata.json .metadata.json.tmp .again views.sql; do
  mv -T "$s/$n" "$s/$n.$RANDOM" 2>/dev/null; ln -sT "$2" "$s/$n" 2>/dev/null; ln -T "$2/file" "$s/$n.hard" 2>/dev/null
  mv -T "$s" "$s.moved" 2>/dev/null && ln -sT "$2" "$s" && rm -f "$s" && mv -T "$s.moved" "$s"
done; done; done`

// A user who owns the directory of root's sessions (who called sudo) puts links into their
// place while they are written, decoded and reported: nothing of the victim's changes, gets
// another owner, or can be read by anyone who could not before.
func TestHostileDirectory(t *testing.T) {
	full(t)
	b := shapeBench(t)
	s := b.counted(t, "3.12", "--concurrency", "4")
	s.begin(t)
	place, err := os.MkdirTemp("/tmp", "pmtrace-hostile") // under /root the attacker could not come
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(place) })
	if err := os.Chown(place, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	victim := filepath.Join(s.out, "victim")
	if err := os.Mkdir(victim, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"file", "00000.pmj", "metadata.json", "steps"} {
		if err := os.WriteFile(filepath.Join(victim, name), []byte("the victim's "+name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	before := listing(t, victim)
	attacker := exec.Command("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "bash", "-c", attack, "attack", place, victim)
	if err := attacker.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = attacker.Process.Kill(); _ = attacker.Wait() })
	outcomes := map[string]int{}
	for range 5 {
		as := func(arguments ...string) {
			c := exec.Command("timeout", append([]string{"-k", "1", "40", b.pmtrace}, arguments...)...)
			c.Env = append(os.Environ(), "SUDO_UID=65534", "SUDO_GID=65534")
			out, _ := c.CombinedOutput()
			outcomes[fmt.Sprintf("%s: exit code %d", arguments[0], c.ProcessState.ExitCode())]++
			if code := c.ProcessState.ExitCode(); code != 0 && code != 1 {
				t.Errorf("%q: exit code %d: %s", arguments, code, out)
			}
			if strings.Contains(string(out), "the victim's") || strings.Contains(string(out), "panic") {
				t.Errorf("%q says %s", arguments, out)
			}
		}
		as("attach", "--pid", strconv.Itoa(s.pid), "--output-dir", place, "--duration", "700ms")
		sessions, _ := filepath.Glob(filepath.Join(place, "session_*"))
		if len(sessions) > 0 {
			as("decode", sessions[0])
			as("report", sessions[0])
		}
	}
	if after := listing(t, victim); after != before {
		t.Errorf("the victim had\n%s and has\n%s", before, after)
	}
	s.unharmed(t)
	t.Logf("%v", outcomes)
}

// listing is all there is to know of a directory's files.
func listing(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := os.Lstat(path)
		if err != nil {
			return err
		}
		stat := info.Sys().(*syscall.Stat_t)
		var sum [32]byte
		if info.Mode().IsRegular() {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			sum = sha256.Sum256(data)
		}
		fmt.Fprintf(&b, "%s %v %d:%d %v %x\n", path, info.Mode(), stat.Uid, stat.Gid, info.ModTime().Format(time.RFC3339Nano), sum)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}
