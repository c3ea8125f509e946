//go:build e2e

package e2e

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/session"
)

const hookAdd = "py:vllm.v1.core.sched.scheduler:Scheduler.add_request"

// hooks names functions of a server that runs: the engine's calls are the clients' requests.
func hooks(t *testing.T, s *server) {
	file := filepath.Join(s.out, "hooks.yaml")
	if err := os.WriteFile(file, []byte(`hooks:
  - py: vllm.v1.core.sched.scheduler:Scheduler.add_request
    name: add_request
    args: [request.num_prompt_tokens, request.max_tokens, len(self.running)]
  - py: vllm.v1.engine.async_llm:AsyncLLM.generate
    name: generate
    process: api_server
    args: [request_id]
  - c: libc.so:fsync
    args: [0:i32]
    result: i32
`), 0o600); err != nil {
		t.Fatal(err)
	}
	tr := s.attach(t, "--hooks", file, "--force-hooks")
	load := s.load(t, "hooked", args(prefixes(), []string{"-c", "24", "-n", "150", "--seed", "21", "--eos-fraction", "0.2"})...)
	s.settle()
	tr.stop(t, 0)
	for _, want := range []string{
		"pmtrace: hook " + hookAdd + " in process ", "pmtrace: hook c:libc.so:fsync in process ",
		"pmtrace: hook py:vllm.v1.engine.async_llm:AsyncLLM.generate in process ", "without durations: a generator or coroutine ",
		"not available: forward_pass (3 columns): a hook has its hardware breakpoint (--force-hooks)",
		"\nHooks ", "\n  add_request  150", "\n  generate     150",
	} {
		if !strings.Contains(tr.stderr.String(), want) {
			t.Errorf("pmtrace does not say %q: %s", want, tr.stderr.String())
		}
	}
	s.truth(t, tr, "--load", load)
	tr.decodesTheSame(t)
	if got, want := hookedRequests(t, tr.session(t)), askedOf(t, load); !slices.Equal(got, want) {
		t.Errorf("the hook saw %d requests %v, the clients sent %d %v", len(got), got, len(want), want)
	}
}

// hookedRequests are the calls of add_request: prompt and output length of each, sorted.
func hookedRequests(t *testing.T, path string) [][2]int {
	t.Helper()
	dir, err := session.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	var out [][2]int
	for row, err := range session.Rows[record.HookRow](dir) {
		if err != nil {
			t.Fatal(err)
		}
		if row.Hook != "add_request" {
			continue
		}
		var got map[string]int
		if err := json.Unmarshal([]byte(row.Arguments), &got); err != nil || len(got) != 3 {
			t.Fatalf("%s: %v", row.Arguments, err)
		}
		out = append(out, [2]int{got["request.num_prompt_tokens"], got["request.max_tokens"]})
	}
	slices.SortFunc(out, comparePairs)
	return out
}

// askedOf are the requests of a load.
func askedOf(t *testing.T, load string) [][2]int {
	t.Helper()
	f, err := os.Open(load)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out [][2]int
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var r struct {
			Prompt int `json:"prompt_tokens"`
			Max    int `json:"max_tokens"`
		}
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			t.Fatal(err)
		}
		out = append(out, [2]int{r.Prompt, r.Max})
	}
	slices.SortFunc(out, comparePairs)
	return out
}

func comparePairs(a, b [2]int) int {
	if a[0] != b[0] {
		return a[0] - b[0]
	}
	return a[1] - b[1]
}

// badHooks are hooks that cannot be set, each with its line.
func badHooks(t *testing.T, s *server) {
	for _, c := range []struct {
		name  string
		code  int
		line  string
		flags []string
	}{
		{"no breakpoint", 2, `^pmtrace: hook py:.*:Scheduler.add_request: its thread has 4 hardware breakpoints, and none is free .*; --force-hooks gives update_entry up, and with it steps.update_start_ns, steps.update_ns, steps.forward_ns; `, []string{"--hook", hookAdd}},
		{"no such method", 3, `^pmtrace: hook py:.*: Scheduler has no add_reqest; there is add_request`, []string{"--force-hooks", "--hook", "py:vllm.v1.core.sched.scheduler:Scheduler.add_reqest"}},
		{"no such module", 3, `^pmtrace: hook py:.*: the process has not imported vllm.v1.core.sched.schedulr; there is vllm.v1.core.sched.scheduler`, []string{"--force-hooks", "--hook", "py:vllm.v1.core.sched.schedulr:Scheduler.add_request"}},
		{"no such argument", 3, `^pmtrace: hook py:.*: it has no argument requests; there is self, request$`, []string{"--force-hooks", "--hook", hookAdd + "(requests.n)"}},
		{"no such library", 3, `^pmtrace: hook c:libfoo.so:frob: process \d+ has mapped no file libfoo.so; `, []string{"--hook", "c:libfoo.so:frob"}},
		{"no such symbol", 3, `^pmtrace: hook c:libc.so:fsinc: .* exports no function fsinc; there is .*fsync`, []string{"--hook", "c:libc.so:fsinc"}},
		{"no hook", 2, `^pmtrace: --hook: frob: no hook; write py:module:Class.method`, []string{"--hook", "frob"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.pmtraceFails(t, c.code, c.line, append([]string{"attach", "--pid", strconv.Itoa(s.pid), "--output-dir", s.out}, c.flags...)...)
		})
	}
}
