package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/go-quicktest/qt"
)

// Lines as vLLM 0.17.1 and 0.32.0 wrote them.
func TestReadLog(t *testing.T) {
	tests := []struct {
		name, log string
		from      int64
		want      []iteration
	}{{
		name: "0.17.1: by the engine, without usage",
		log: `(EngineCore_DP0 pid=26098) INFO 11-23 18:56:10 [core.py:358] Iteration(1): 13 context requests, 2046 context tokens, 2 generation requests, 2 generation tokens, iteration elapsed time: 472.51 ms
`,
		want: []iteration{{number: 1, ctxRequests: 13, ctxTokens: 2046, genRequests: 2, genTokens: 2}},
	}, {
		name: "0.32.0: by the frontend",
		log: `(APIServer pid=27701) INFO 11-23 18:57:04 [loggers.py:199] Engine 000: Iteration(2): 12 context requests, 2034 context tokens, 14 generation requests, 14 generation tokens, iteration elapsed time: 28.07 ms, CPU KV cache usage: 72.9%
`,
		want: []iteration{{number: 2, ctxRequests: 12, ctxTokens: 2034, genRequests: 14, genTokens: 14, usagePct: 72.9, hasUsage: true}},
	}, {
		name: "data parallel, by the engine and by the frontend",
		log: `(EngineCore_DP1 pid=26098) INFO 11-23 18:56:10 [core.py:358] Iteration(1): 13 context requests, 2046 context tokens, 0 generation requests, 0 generation tokens, iteration elapsed time: 472.51 ms
(APIServer pid=27701) INFO 11-23 18:57:04 [loggers.py:199] Engine 003: Iteration(2): 1 context requests, 4 context tokens, 0 generation requests, 0 generation tokens, iteration elapsed time: 28.07 ms, CPU KV cache usage: 72.9%
`,
		want: []iteration{{engine: 1, number: 1, ctxRequests: 13, ctxTokens: 2046}, {engine: 3, number: 2, ctxRequests: 1, ctxTokens: 4, usagePct: 72.9, hasUsage: true}},
	}, {
		name: "other lines",
		log: `(APIServer pid=27701) INFO 11-23 18:57:04 [loggers.py:271] Engine 000: Avg prompt throughput: 1.0 tokens/s, GPU KV cache usage: 3.0%, Prefix cache hit rate: 0.0%
(APIServer pid=1) INFO:     127.0.0.1:33 - "POST /v1/completions HTTP/1.1" 200 OK

`,
	}, {
		name: "empty step and dummy step",
		log: `Iteration(7): 0 context requests, 0 context tokens, 0 generation requests, 0 generation tokens, iteration elapsed time: 0.00 ms
Iteration(8): 0 context requests, 0 context tokens, 0 generation requests, 0 generation tokens, iteration elapsed time: 1.00 ms (dummy), GPU KV cache usage: 1.0%
`,
		want: []iteration{{number: 7}},
	}, {
		name: "from an offset",
		log:  "0123456789Iteration(3): 1 context requests, 5 context tokens, 0 generation requests, 0 generation tokens, iteration elapsed time: 0.45 ms\n",
		from: 10,
		want: []iteration{{number: 3, ctxRequests: 1, ctxTokens: 5}},
	}}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := readLog(strings.NewReader(test.log), test.from)
			qt.Assert(t, qt.IsNil(err))
			qt.Check(t, qt.IsTrue(slices.Equal(got, test.want)), qt.Commentf("%+v", got))
		})
	}
}

func TestReadLogTooShort(t *testing.T) {
	_, err := readLog(strings.NewReader("short"), 100)
	qt.Assert(t, qt.ErrorMatches(err, "has 5 bytes only: EOF"))
}

func TestReadLogNumberTooLarge(t *testing.T) {
	_, err := readLog(strings.NewReader("Iteration(3): 99999999999 context requests, 5 context tokens, 0 generation requests, 0 generation tokens, iteration elapsed time: 0.45 ms"), 0)
	qt.Assert(t, qt.ErrorMatches(err, ".*out of range"))
}

func TestReadClients(t *testing.T) {
	got, err := readClients(strings.NewReader(`{"n": 0, "client_id": "load-1-0", "kind": "length", "stream": true, "prefix": -1, "max_tokens": 9, "prompt_tokens": 20, "response_id": "cmpl-load-1-0", "external_id": "cmpl-load-1-0-0", "completion_tokens": 9, "cached_tokens": 0, "finish_reason": "length", "t_first": 12.5, "t_last": 13.25, "status": 200, "error": null, "t_send": 12.0}
{"n": 1, "client_id": "load-1-1", "kind": "abort", "finish_reason": "abort", "cached_tokens": null, "external_id": null, "t_send": 1, "t_first": null, "t_last": null}
`))
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.HasLen(got, 2))
	qt.Check(t, qt.Equals(got[0].id(), "cmpl-load-1-0-0"))
	qt.Check(t, qt.Equals(*got[0].Cached, 0))
	qt.Check(t, qt.IsFalse(got[0].gone()))
	qt.Check(t, qt.Equals(got[1].id(), "cmpl-load-1-1-0"))
	qt.Check(t, qt.IsTrue(got[1].gone()))
	_, err = readClients(strings.NewReader("{}\nno"))
	qt.Check(t, qt.ErrorMatches(err, "line 2: .*"))
}

func TestDelta(t *testing.T) {
	a, err := parseScrape(strings.NewReader(`{"monotonic": 1, "gauges": [], "samples": {"vllm:a": 2, "vllm:b{le=1}": 1}}`))
	qt.Assert(t, qt.IsNil(err))
	b, err := parseScrape(strings.NewReader(`{"samples": {"vllm:a": 5, "vllm:b{le=1}": 1, "vllm:new": 3}}`))
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.DeepEquals(delta(a, b), metrics{"vllm:a": 3, "vllm:b{le=1}": 0, "vllm:new": 3}))
	_, err = parseScrape(strings.NewReader(`{}`))
	qt.Check(t, qt.ErrorMatches(err, "no samples"))
}

func TestRelease(t *testing.T) {
	for version, want := range map[string]int{"0.32.0": 32, "0.17.1+cpu": 17, "0.9": 9, "1.0.0": 1 << 20, "": 1 << 20} {
		qt.Check(t, qt.Equals(release(version), want), qt.Commentf("%q", version))
	}
}
