package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-quicktest/qt"

	"github.com/pmtrace/pmtrace/e2e/s3server"
	"github.com/pmtrace/pmtrace/output/fleet"
	"github.com/pmtrace/pmtrace/output/session"
)

// fleetHosts are the recorded sessions, each of a host of its own.
func fleetHosts() map[string]string {
	return map[string]string{
		"node-a": "testdata/recorded/h200-pressure", "node-b": "testdata/recorded/h200-midload", "node-c": "testdata/recorded/h200-record",
		"node-d": "../../e2e/gpu/testdata/h200-llama8b", "node-e": "../../e2e/gpu/testdata/h200-qwen3moe-v1",
	}
}

func ship(t testing.TB, env map[string]string, args ...string) (code int, stderr string) {
	var b strings.Builder
	var list []string
	for k, v := range env {
		list = append(list, k+"="+v)
	}
	code = run(t.Context(), append([]string{"ship"}, args...), nil, io.Discard, &b, list)
	return code, b.String()
}

// ownRows counts the rows of a session's own tables.
func ownRows(t testing.TB, path string, into map[string]int64) {
	dir, err := session.Open(path)
	qt.Assert(t, qt.IsNil(err))
	defer dir.Close()
	parts, err := session.Parts(dir, func(string) bool { return false })
	qt.Assert(t, qt.IsNil(err))
	for _, p := range parts {
		if p.Rows > 0 {
			into[p.Table] += p.Rows
		}
	}
	into[fleet.TableSessions]++
}

// Many hosts' sessions are one table each, in a directory as in a bucket: every row once.
// The readers are not ours: DuckDB for the directory; for the bucket pyarrow, with
// Amazon's own client.
func TestFleet(t *testing.T) {
	server := s3server.Start(t)
	place := filepath.Join(t.TempDir(), "fleet")
	want := map[string]int64{}
	for host, recorded := range fleetHosts() {
		path := decoded(t, recorded)
		ownRows(t, path, want)
		for _, destination := range []string{place, "s3://" + server.Bucket + "/vllm"} {
			code, said := ship(t, server.Env(), "--host", host, path, destination)
			qt.Assert(t, qt.Equals(code, 0), qt.Commentf("%s", said))
			qt.Check(t, qt.StringContains(said, "pmtrace: shipped "+path+" to "+destination))
			qt.Check(t, qt.IsFalse(strings.Contains(said, server.Secret)))
		}
	}
	for _, where := range []string{place, server.Bucket + "/vllm"} {
		c := exec.Command(python(t, "analysis.sh"), "testdata/fleet_counts.py", where)
		c.Env = append(os.Environ(), "AWS_EC2_METADATA_DISABLED=true")
		if where != place {
			for k, v := range server.Env() {
				c.Env = append(c.Env, k+"="+v)
			}
		}
		out, err := c.Output()
		qt.Assert(t, qt.IsNil(err), qt.Commentf("%s", stderrOf(err)))
		got := map[string]int64{}
		qt.Assert(t, qt.IsNil(json.Unmarshal(out, &got)))
		qt.Check(t, qt.DeepEquals(got, want))
		t.Logf("%s: %d rows of %d tables, %d sessions", where, sum(got), len(got), got[fleet.TableSessions])
	}
	// The bucket holds the very files of the directory.
	qt.Check(t, qt.DeepEquals(filesBelow(t, server.Path("vllm")), filesBelow(t, place)))
	// What was shipped says nothing of the keys.
	for name, content := range filesBelow(t, place) {
		qt.Check(t, qt.IsFalse(strings.Contains(content, server.Secret) || strings.Contains(content, server.Key)), qt.Commentf("%s", name))
	}
}

func stderrOf(err error) string {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return string(exit.Stderr)
	}
	return ""
}

func sum(m map[string]int64) (n int64) {
	for v := range maps.Values(m) {
		n += v
	}
	return n
}

func filesBelow(t testing.TB, place string) map[string]string {
	files := map[string]string{}
	err := filepath.WalkDir(place, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		name, _ := filepath.Rel(place, path)
		files[name] = string(b)
		return err
	})
	qt.Assert(t, qt.IsNil(err))
	return files
}

// Killed at any moment, ship leaves no half file, and the next one completes it.
func TestShipKilled(t *testing.T) {
	server := s3server.Start(t)
	path := decoded(t, "testdata/recorded/h200-pressure")
	whole := filepath.Join(t.TempDir(), "whole")
	code, said := ship(t, nil, "--journal", path, whole)
	qt.Assert(t, qt.Equals(code, 0), qt.Commentf("%s", said))
	want := filesBelow(t, whole)
	for kind, c := range map[string]struct{ destination, lies string }{
		"directory": {filepath.Join(t.TempDir(), "fleet"), ""},
		"bucket":    {"s3://" + server.Bucket, server.Path("")},
	} {
		lies := c.lies
		if lies == "" {
			lies = c.destination
		}
		killed := 0
		for n := range 25 {
			cmd := &exec.Cmd{Path: "/proc/self/exe", Args: []string{"pmtrace", "ship", "--journal", path, c.destination}, Env: os.Environ()}
			for k, v := range server.Env() {
				cmd.Env = append(cmd.Env, k+"="+v)
			}
			qt.Assert(t, qt.IsNil(cmd.Start()))
			time.Sleep(time.Duration(rand.IntN(5+3*n)) * time.Millisecond)
			_ = cmd.Process.Signal(syscall.SIGKILL)
			if cmd.Wait() != nil {
				killed++
			}
			if _, err := os.Stat(lies); err != nil {
				continue // not even begun
			}
			for name, content := range filesBelow(t, lies) {
				if readable(name) && !strings.HasPrefix(name, "_manifests") {
					qt.Assert(t, qt.IsTrue(want[name] == content), qt.Commentf("%s: %s is half there", kind, name))
				}
			}
		}
		code, said := ship(t, server.Env(), "--journal", path, c.destination)
		qt.Assert(t, qt.Equals(code, 0), qt.Commentf("%s", said))
		got := filesBelow(t, lies)
		maps.DeleteFunc(got, func(name, _ string) bool { return !readable(name) })
		qt.Check(t, qt.DeepEquals(slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want))), qt.Commentf("%s", kind))
		qt.Check(t, qt.IsTrue(maps.Equal(got, want)), qt.Commentf("%s", kind))
		t.Logf("%s: killed %d times", kind, killed)
	}
}

// readable is false of files whose names no reader of tables, or of a bucket, is told.
func readable(name string) bool {
	return !strings.HasPrefix(filepath.Base(name), ".") && !strings.HasPrefix(name, ".sgwtmp")
}

func TestShipAndRemove(t *testing.T) {
	server := s3server.Start(t)
	path := decoded(t, "testdata/recorded/h200-record")
	journal := filesBelow(t, filepath.Join(path, "journal"))
	code, said := ship(t, server.Env(), "--remove", path, "s3://"+server.Bucket)
	qt.Assert(t, qt.Equals(code, 0), qt.Commentf("%s", said))
	qt.Check(t, qt.StringContains(said, "pmtrace: read back all of it, and removed "+path+"\n"))
	_, err := os.Stat(path)
	qt.Check(t, qt.ErrorIs(err, fs.ErrNotExist))
	raw, err := filepath.Glob(server.Path("_raw/*/*/*/journal"))
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.HasLen(raw, 1))
	qt.Check(t, qt.DeepEquals(filesBelow(t, raw[0]), journal))

	// What is not there as it was sent keeps the session.
	path = decoded(t, "testdata/recorded/h200-midload")
	code, said = ship(t, server.Env(), path, "s3://"+server.Bucket)
	qt.Assert(t, qt.Equals(code, 0), qt.Commentf("%s", said))
	parts, err := filepath.Glob(server.Path("steps/*/*/*/*.parquet"))
	qt.Assert(t, qt.IsNil(err))
	for _, p := range parts { // its size and the hash that is kept with it stay
		b, err := os.ReadFile(p)
		qt.Assert(t, qt.IsNil(err))
		b[len(b)/2] ^= 1
		f, err := os.OpenFile(p, os.O_WRONLY, 0)
		qt.Assert(t, qt.IsNil(err))
		_, err = f.Write(b)
		qt.Assert(t, qt.IsNil(errors.Join(err, f.Close())))
	}
	code, said = ship(t, server.Env(), "--remove", path, "s3://"+server.Bucket)
	qt.Check(t, qt.Equals(code, exitFailed))
	qt.Check(t, qt.StringContains(said, "the session is not removed, since reading it back failed: steps/"))
	_, err = os.Stat(filepath.Join(path, "journal", "00000.pmj"))
	qt.Check(t, qt.IsNil(err))
}

func TestShipTrouble(t *testing.T) {
	path := decoded(t, "testdata/recorded/h200-record")
	killed := filepath.Join(t.TempDir(), "session_killed")
	qt.Assert(t, qt.IsNil(os.CopyFS(killed, os.DirFS("testdata/recorded/h200-record"))))
	place := filepath.Join(t.TempDir(), "fleet")
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{path}, exitUsage, "ship wants sessions and a destination: "},
		{[]string{path, "gs://x"}, exitUsage, `"gs://x" is no destination: there is no scheme gs; name a directory, dir:///PATH or s3://BUCKET/PREFIX`},
		{[]string{path, "s3://k:topsecret@x"}, exitUsage, "keys do not belong there: give them by AWS_ACCESS_KEY_ID"},
		{[]string{killed, path, place}, exitFailed, "cannot ship " + killed + ": it has not ended: there is no metadata.json; if nobody traces it, pmtrace decode makes its tables"},
		{[]string{"/nowhere", path, place}, exitFailed, "cannot open the session: no such file or directory; name a directory that pmtrace made"},
	} {
		code, said := ship(t, nil, c.args...)
		qt.Check(t, qt.Equals(code, c.code))
		qt.Check(t, qt.StringContains(said, c.want))
		qt.Check(t, qt.IsFalse(strings.Contains(said, "topsecret")))
		for line := range strings.Lines(said) {
			qt.Check(t, qt.IsTrue(strings.HasPrefix(line, "pmtrace: ")), qt.Commentf("%q", line))
		}
	}
	// The sessions beside were shipped all the same.
	qt.Check(t, qt.IsTrue(len(filesBelow(t, place)) > 5))
	qt.Check(t, qt.IsTrue(func() bool { _, err := os.Stat(filepath.Join(path, "shipped.json")); return err == nil }()))
}

// realSessions has a bench write real ones.
func (b *testBench) realSessions() {
	real := thisMachine()
	b.world.create, b.world.open = real.create, real.open
}

func (b *testBench) sessions(t testing.TB) []string {
	list, err := filepath.Glob(filepath.Join(b.env.get("PMTRACE_OUTPUT_DIR"), "session_*"))
	qt.Assert(t, qt.IsNil(err))
	return list
}

// While a server is traced its parts are shipped, and cut so that decoding cuts them at
// the same places.
func TestShipWhileTracing(t *testing.T) {
	pid, _ := startServer(t)
	b := newBench(t)
	b.realSessions()
	b.tracer.lost = 1
	place := filepath.Join(t.TempDir(), "fleet")
	qt.Assert(t, qt.Equals(b.attachTo(t, pid, "--duration", "8", "--rotate", "500ms", "--ship-to", place, "--ship-host", "node-x"), 0), qt.Commentf("%s", b.err))
	qt.Check(t, qt.StringContains(b.err.String(), "pmtrace: shipped to "+place+": "))
	sessions := b.sessions(t)
	qt.Assert(t, qt.HasLen(sessions, 1))
	want := map[string]int64{}
	ownRows(t, sessions[0], want)
	parts, err := filepath.Glob(filepath.Join(place, "losses", "host=node-x", "*", "session="+filepath.Base(sessions[0]), "*.parquet"))
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.IsTrue(len(parts) > 1), qt.Commentf("%d parts", len(parts)))
	manifests, err := filepath.Glob(filepath.Join(place, "_manifests", "*", "*", "*.json"))
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.HasLen(manifests, 1))
	text, err := os.ReadFile(manifests[0])
	qt.Assert(t, qt.IsNil(err))
	var m fleet.Manifest
	qt.Assert(t, qt.IsNil(json.Unmarshal(text, &m)))
	qt.Check(t, qt.IsTrue(m.Complete))
	qt.Check(t, qt.DeepEquals(m.Rows(), want))

	live := filesBelow(t, filepath.Join(sessions[0], "parquet"))
	qt.Assert(t, qt.Equals(b.run(t.Context(), []string{"decode", sessions[0]}), 0), qt.Commentf("%s", b.err))
	qt.Check(t, qt.IsTrue(maps.Equal(filesBelow(t, filepath.Join(sessions[0], "parquet")), live)))
}

// A store that is away harms no trace, and gets all when it is back.
func TestStoreAway(t *testing.T) {
	server := s3server.Start(t)
	server.Stop()
	pid, _ := startServer(t)
	b := newBench(t)
	b.realSessions()
	for k, v := range server.Env() {
		b.env[k] = v
	}
	time.AfterFunc(8*time.Second, server.Run)
	code := b.attachTo(t, pid, "--duration", "6", "--rotate", "500ms", "--ship-to", "s3://"+server.Bucket)
	said := b.err.String()
	qt.Assert(t, qt.Equals(code, 0), qt.Commentf("%s", said))
	qt.Check(t, qt.StringContains(said, "pmtrace: cannot ship to s3://traces: "))
	qt.Check(t, qt.StringContains(said, "attempts failed before"))
	qt.Check(t, qt.IsFalse(strings.Contains(said, server.Secret)))
	sessions := b.sessions(t)
	qt.Assert(t, qt.HasLen(sessions, 1))
	want := map[string]int64{}
	ownRows(t, sessions[0], want)
	manifest, err := filepath.Glob(server.Path("_manifests/*/*/*.json"))
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.HasLen(manifest, 1))
	text, err := os.ReadFile(manifest[0])
	qt.Assert(t, qt.IsNil(err))
	var m fleet.Manifest
	qt.Assert(t, qt.IsNil(json.Unmarshal(text, &m)))
	qt.Check(t, qt.DeepEquals(m.Rows(), want))
	// Nothing of the keys is in the session.
	for name, content := range filesBelow(t, sessions[0]) {
		qt.Check(t, qt.IsFalse(strings.Contains(content, server.Secret) || strings.Contains(content, server.Key)), qt.Commentf("%s", name))
	}
}

// A destination that takes nothing at all: the session is complete, and the exit code says
// that it was not shipped.
func TestNotShipped(t *testing.T) {
	pid, _ := startServer(t)
	b := newBench(t)
	b.realSessions()
	other := filepath.Join(t.TempDir(), "a file")
	qt.Assert(t, qt.IsNil(os.WriteFile(other, nil, 0o600)))
	now := b.world.now
	b.world.now = func() time.Time { return now().Add(time.Since(started) * 20) } // patience ends soon
	code := b.attachTo(t, pid, "--duration", "1", "--ship-to", other)
	qt.Check(t, qt.Equals(code, exitFailed))
	sessions := b.sessions(t)
	qt.Assert(t, qt.HasLen(sessions, 1))
	qt.Check(t, qt.StringContains(b.err.String(), fmt.Sprintf("pmtrace: the session is not shipped to %s: not a directory; it is complete here: pmtrace ship %s %s\n", other, sessions[0], other)))
	_, err := os.Stat(filepath.Join(sessions[0], "metadata.json"))
	qt.Check(t, qt.IsNil(err))
}

var started = time.Now()
