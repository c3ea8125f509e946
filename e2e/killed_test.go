//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// kills is how often TestKilledAtAnyMoment kills: PMTRACE_KILLS=1000 for the full run.
func kills(t *testing.T) int {
	t.Helper()
	text := os.Getenv("PMTRACE_KILLS")
	if text == "" {
		return 20
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("PMTRACE_KILLS=%s: want a number", text)
	}
	return n
}

const (
	killRate = 100 // steps a second
	// keptWithin is how old the newest step of a session may be when the tracer dies: the
	// journal is written twice a second, and the machine has other work.
	keptWithin = 2 * time.Second
)

// killed is one tracer's end.
type killed struct {
	after  time.Duration // its start
	armed  time.Duration // how long it had traced; 0: not at all
	asked  bool          // by SIGTERM, just before
	made   int           // steps of the program until then
	path   string        // the session; "": none
	output string        // of pmtrace decode
}

// pmtrace dies of SIGKILL at whatever moment, a thousand times: the program goes on, its
// breakpoints are free again, and the journal has each step until just before, exactly.
func TestKilledAtAnyMoment(t *testing.T) {
	b := shapeBench(t)
	versions := []string{"3.11", "3.12", "3.13", "3.14"}
	n := kills(t)
	for i, version := range versions {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			killAgainAndAgain(t, b, version, (n+i)/len(versions), rand.New(rand.NewPCG(uint64(n), uint64(i))))
		})
	}
}

func killAgainAndAgain(t *testing.T, b *bench, version string, n int, rng *rand.Rand) {
	s := b.engine(t, version, "server", "--rate", strconv.Itoa(killRate), "--concurrency", "8", "--counter", filepath.Join(b.out, "counter-"+version))
	fmt.Fprintln(s.in, "go")
	place := filepath.Join(s.out, "sessions")
	var all []killed
	for nth := range n {
		all = append(all, s.killOne(t, nth, place, rng))
		hog(t, s.pid, 4)() // fails unless the breakpoints are free
	}
	s.unharmed(t)
	if err := syscall.Kill(s.pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if line := s.line(t); line != "done" {
		t.Fatalf("the program says %q", line)
	}
	tellKills(t, s.shapeSteps(t), all)
}

// killOne starts a tracer and kills it within three seconds; of some it asks before that they end.
func (s *shapeProgram) killOne(t *testing.T, nth int, place string, rng *rand.Rand) (k killed) {
	t.Helper()
	k.after = time.Duration(rng.Int64N(int64(3 * time.Second)))
	k.asked = rng.IntN(4) == 0
	tr := s.bench.run(t, "attach", "--pid", strconv.Itoa(s.pid), "--output-dir", place)
	began := time.Now()
	var armed time.Time
	for time.Since(began) < k.after {
		if armed.IsZero() && strings.Contains(tr.stderr.String(), "tracing engine") {
			armed = time.Now()
		}
		time.Sleep(time.Millisecond)
	}
	if !armed.IsZero() {
		k.armed = time.Since(armed)
	}
	if k.asked {
		tr.signal(t, syscall.SIGTERM)
		time.Sleep(time.Duration(rng.Int64N(int64(300 * time.Millisecond))))
	}
	k.made = s.made(t)
	if err := tr.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
	if !tr.await(10 * time.Second) {
		t.Fatal("pmtrace survives SIGKILL")
	}
	sessions, err := filepath.Glob(filepath.Join(place, "session_*"))
	if err != nil || len(sessions) > 1 {
		t.Fatalf("%d sessions of one tracer: %v", len(sessions), err)
	}
	if len(sessions) == 0 {
		return k
	}
	k.path = filepath.Join(s.out, fmt.Sprintf("killed_%04d", nth))
	if err := os.Rename(sessions[0], k.path); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(s.bench.pmtrace, "decode", "--no-csv", k.path).CombinedOutput()
	k.output = string(out)
	if err != nil && !strings.Contains(k.output, "its journal is empty") && !strings.Contains(k.output, "no journal in it") {
		t.Errorf("pmtrace decode %s: %v\n%s", k.path, err, out)
	}
	if err != nil {
		k.path = ""
	}
	return k
}

// tellKills compares each session with the program's word.
func tellKills(t *testing.T, truth *shapeSteps, all []killed) {
	t.Helper()
	steps, sessions, torn := 0, 0, 0
	var late []time.Duration
	for _, k := range all {
		if k.path == "" {
			if k.armed > keptWithin {
				t.Errorf("nothing is kept of %v (killed after %v, asked: %v)\n%s", k.armed, k.after, k.asked, k.output)
			}
			continue
		}
		sessions++
		if strings.Contains(k.output, "damaged") {
			torn++
		}
		got := truth.contains(t, k.path)
		steps += got.count
		if got.count == 0 {
			if k.armed > keptWithin {
				t.Errorf("%s: no step of %v", k.path, k.armed)
			}
			continue
		}
		if !k.asked { // else it was told to stop before
			late = append(late, time.Duration(k.made-got.end())*time.Second/killRate)
		}
		if behind := time.Duration(k.made-got.end()) * time.Second / killRate; !k.asked && k.armed > keptWithin && behind > keptWithin {
			t.Errorf("%s ends %v before the tracer did", k.path, behind)
		}
	}
	slices.Sort(late)
	if len(late) == 0 {
		t.Fatal("no tracer lived for long enough to tell")
	}
	t.Logf("%d kills, %d journals (%d with a torn end), %d of %d steps in them, each as the program says; what is lost at the median %v, at most %v",
		len(all), sessions, torn, steps, len(truth.names), late[len(late)/2], late[len(late)-1])
}
