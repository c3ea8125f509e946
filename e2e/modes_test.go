//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// mode is a way to run a server.
type mode struct {
	name    string
	flags   []string
	load    []string
	env     map[string]string
	engines int                          // of the server; 0: one
	make    func(t *testing.T, b *bench) // what its flags or its environment name
}

// TestModes has servers in ways that change what the scheduler does, or where. Each is
// traced from before its load and compared with the server's own word. One that this
// version or this machine cannot run does not start, and its log says why.
func TestModes(t *testing.T) {
	modes(t)
	b := newBench(t)
	for _, m := range []mode{
		{name: "no prefix caching", flags: []string{"--no-enable-prefix-caching"}},
		{name: "priority", flags: []string{"--scheduling-policy", "priority"}, load: []string{"--priorities", "3"}},
		{name: "chunked prefill", flags: []string{"--max-num-batched-tokens", "64", "--enable-chunked-prefill"}},
		// With drafts vLLM takes no logit_bias, by which requests end early.
		{name: "ngram", load: []string{"--eos-fraction", "0"}, flags: []string{"--speculative-config", `{"method":"ngram","num_speculative_tokens":3,"prompt_lookup_max":3,"prompt_lookup_min":1}`}},
		// Each worker has a core: by itself vLLM wants a NUMA node for each.
		{name: "tensor parallel", flags: []string{"--tensor-parallel-size", "2"}, env: map[string]string{"VLLM_CPU_OMP_THREADS_BIND": "0|1"}},
		{name: "LoRA", flags: []string{"--enable-lora", "--max-lora-rank", "8", "--lora-modules", "tuned=" + adapterDir(b)}, load: []string{"--other-model", "tuned"}, make: makeAdapter},
		{name: "pooling", flags: []string{"--runner", "pooling"}, load: []string{"--embeddings", "-n", "400"}},
		{name: "mixture of experts", make: makeExperts, env: map[string]string{"PMTRACE_SERVE_MODEL": expertsDir(b)}},
		{
			name: "data parallel", engines: 2, env: map[string]string{"VLLM_CPU_OMP_THREADS_BIND": "0|1"},
			flags: twoEngines(), load: []string{"-c", "64", "-n", "320"},
		},
		// These step together: one that has no request computes a dummy batch meanwhile.
		{
			name: "experts, data parallel", engines: 2, make: makeExperts,
			env:   map[string]string{"VLLM_CPU_OMP_THREADS_BIND": "0|1", "PMTRACE_SERVE_MODEL": expertsDir(b)},
			flags: twoEngines(), load: []string{"-c", "64", "-n", "320"},
		},
	} {
		t.Run(m.name, func(t *testing.T) {
			for name, value := range m.env {
				t.Setenv(name, value)
			}
			if m.make != nil {
				m.make(t, b)
			}
			s := b.serve(t, filepath.Base(t.Name()), append(pressure(), m.flags...)...)
			before := s.scrape(t, "before")
			tr := s.attach(t)
			tr.saysTimes(t, "tracing engine", max(m.engines, 1))
			load := s.load(t, "load", args(prefixes(), []string{"-c", "32", "-n", "160", "--seed", "21", "-o", "16:96", "--eos-fraction", "0.2"}, m.load)...)
			s.settle()
			after := s.scrape(t, "after")
			tr.stop(t, 0)
			s.truth(t, tr, "--load", load, "--before", before, "--after", after, "--fresh", "--engines", strconv.Itoa(m.engines))
			tr.decodesTheSame(t)
		})
	}
}

// twoEngines have one frontend: of several none logs iterations (vLLM switches that off), and each
// counts for itself what it has of a step.
func twoEngines() []string {
	return []string{"--data-parallel-size", "2", "--api-server-count", "1", "--num-gpu-blocks-override", "150"}
}

func expertsDir(b *bench) string { return filepath.Join(b.out, "experts") }

// makeExperts makes the tiny model with experts.
func makeExperts(t *testing.T, b *bench) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(expertsDir(b), "config.json")); err != nil {
		b.script(t, b.python, "e2e/setup/experts.py", expertsDir(b))
	}
}

func adapterDir(b *bench) string { return filepath.Join(b.out, "adapter") }

// makeAdapter makes a LoRA adapter for the tiny model, with random weights.
func makeAdapter(t *testing.T, b *bench) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(adapterDir(b), "adapter_model.safetensors")); err != nil {
		b.script(t, b.python, "e2e/setup/adapter.py", adapterDir(b))
	}
}
