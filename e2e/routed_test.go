//go:build e2e

package e2e

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pmtrace/pmtrace/decode/record"
)

// routedLayers are those with experts of e2e/routed/engine.py's model.
var routedLayers = []int{0, 2, 3}

// routedEngine starts e2e/routed/engine.py, or has pmtrace record start it.
func (b *bench) routedEngine(t *testing.T, name string, recorded bool, environment ...string) *server {
	t.Helper()
	s := &server{bench: b, out: filepath.Join(b.out, name), python: b.python, ask: &inProcess{}}
	fresh(t, s.out)
	s.log = filepath.Join(s.out, "server.log")
	log, err := os.Create(s.log)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	command := []string{"-c", `. e2e/environment.sh; exec "$@"`, "routed"}
	if recorded {
		command = append(command, b.pmtrace, "record", "--output-dir", s.out, "--")
	}
	c := exec.Command("bash", append(command, b.python, "e2e/routed/engine.py", s.out)...)
	c.Dir, c.Stderr, c.Env = b.repo, log, append(os.Environ(), environment...)
	if s.ask.in, err = c.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	s.ask.out = bufio.NewScanner(out)
	tr := &tracer{bench: b, cmd: c, done: make(chan struct{})}
	if recorded {
		s.tracer, c.Stderr = tr, io.MultiWriter(&tr.stderr, log)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = c.Wait(); close(tr.done) }()
	t.Cleanup(func() { _ = s.ask.in.Close(); <-tr.done })
	s.pid = c.Process.Pid
	s.ask.says(t, "ready")
	return s
}

// returnedChoices are the choices that the engine returned with its requests, of tokens
// that it computed.
func returnedChoices(t *testing.T, path string) (c *choices, tokens int) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c = newChoices()
	for d := json.NewDecoder(f); d.More(); {
		var r struct {
			Prompt, Output, Cached int
			Routed                 [][][]int
		}
		if err := d.Decode(&r); err != nil {
			t.Fatal(err)
		}
		if len(r.Routed) != r.Prompt+r.Output-1 {
			t.Fatalf("%d tokens have choices, of %d and %d", len(r.Routed), r.Prompt, r.Output)
		}
		for _, token := range r.Routed[r.Cached:] {
			tokens++
			for _, layer := range routedLayers {
				c.add(layer, token[layer])
			}
		}
	}
	return c, tokens
}

func (c *choices) add(layer int, ids []int) {
	for i, a := range ids {
		c.chosen[[2]int{layer, a}]++
		for _, b := range ids[:i] {
			c.pairs[[3]int{layer, min(a, b), max(a, b)}]++
		}
	}
}

// TestRoutedExperts: what vLLM copies to the host of its routed experts is counted, each
// token of each layer, in the engine's process or the one that runs its model.
func TestRoutedExperts(t *testing.T) {
	full(t)
	b := newBench(t)
	plugin := func(names ...string) string {
		path := "PYTHONPATH="
		for _, n := range names {
			path += filepath.Join(b.repo, "e2e", n) + ":"
		}
		return path
	}
	for _, c := range []struct {
		name, source string
		recorded     bool
		environment  []string
	}{
		{"ahead", "aux_output", false, []string{plugin("async", "routed"), "PMTRACE_ROUTED_EXECUTOR=uni"}},
		// Each prompt in one step: without outputs ahead, a step that has no request's token
		// has its experts nowhere within reach.
		{"one by one", "aux_output", false, []string{plugin("routed"), "PMTRACE_ROUTED_EXECUTOR=uni", "PMTRACE_ROUTED_TOKENS=8192"}},
		{"worker ahead", "aux_output_of_worker", false, []string{plugin("async", "routed")}},
		{"worker", "aux_output_of_worker", false, []string{plugin("routed")}},
		{"recorded", "aux_output", true, []string{plugin("async", "routed"), "PMTRACE_ROUTED_EXECUTOR=uni"}},
		{"worker recorded", "aux_output_of_worker", true, []string{plugin("routed")}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := b.routedEngine(t, "routed-"+strings.ReplaceAll(c.name, " ", "-"), c.recorded, c.environment...)
			tr := s.tracer
			if tr == nil {
				tr = s.attach(t)
			}
			s.generate(t)
			if c.recorded {
				_ = s.ask.in.Close()
				tr.code(t, 0)
			} else {
				tr.stop(t, 0)
			}
			want, tokens := returnedChoices(t, filepath.Join(s.out, "routed.jsonl"))
			got := readChoices(t, tr.session(t))
			sameCounts(t, "experts", got.chosen, want.chosen)
			sameCounts(t, "pairs of experts", got.pairs, want.pairs)
			t.Logf("%d tokens", tokens)
			collect(t, openSession(t, tr.session(t)), func(r *record.MoEActivationRow) {
				if r.Source != record.ExpertsFromBuffers {
					t.Fatalf("source %q", r.Source)
				}
			})
			collect(t, openSession(t, tr.session(t)), func(l *record.LossRow) { t.Errorf("lost: %+v", *l) })
			tracked, _ := moeMetadata(t, tr.session(t))
			if source := routedSource(t, tr.session(t)); !tracked || source != c.source {
				t.Errorf("metadata.json: moe_expert_tracking is %v, routed_experts %q", tracked, source)
			}
			tr.decodesTheSame(t)
		})
	}
}

func routedSource(t *testing.T, session string) string {
	t.Helper()
	var m struct{ Engines []record.Engine }
	data, err := os.ReadFile(filepath.Join(session, "metadata.json"))
	if err == nil {
		err = json.Unmarshal(data, &m)
	}
	if err != nil || len(m.Engines) != 1 {
		t.Fatalf("%d engines: %v", len(m.Engines), err)
	}
	return m.Engines[0].RoutedExperts
}
