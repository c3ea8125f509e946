package vllm

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/go-quicktest/qt"
)

// realVersion is the vLLM that e2e/setup/vllm.sh installs, for the CPU. Its
// modules for GPUs can be imported, too.
const realVersion = "0.32.0"

// samples are modules for the rows whose module is a pattern.
var samples = []string{
	"vllm.model_executor.models.llama", "vllm.model_executor.models.llama_eagle3", "vllm.model_executor.models.deepseek_mtp",
	"vllm.model_executor.models.medusa", "vllm.model_executor.models.qwen2_vl", "vllm.v1.spec_decode.eagle",
	"vllm.v1.worker.gpu.spec_decode.speculator", "vllm.v1.worker.gpu.model_states.default",
	"vllm.v1.worker.gpu.model_states.encoder_decoder",
}

// sampled are functions of theirs, by phase rows with patterns.
var sampled = []string{
	"LlamaForCausalLM.compute_logits", "Eagle3LlamaForCausalLM.compute_logits", "DeepSeekMTP.compute_logits", "Medusa.compute_logits",
	"Qwen2VLForConditionalGeneration.embed_multimodal", "SpecDecodeBaseProposer.propose", "DefaultModelState.prepare_attn",
	"DefaultModelState.prepare_inputs_embeds", "EncoderDecoderModelState.prepare_inputs_embeds", "Module._call_impl", "Module._wrapped_call_impl",
}

// TestRealFunctions imports the modules of a real vLLM and finds every function
// that its sources have.
func TestRealFunctions(t *testing.T) {
	if testing.Short() {
		t.Skip("imports a vLLM: 30 s")
	}
	python := filepath.Join(cache(), "vllm-"+realVersion, "bin", "python")
	if _, err := os.Stat(python); err != nil {
		t.Skipf("no vLLM %s: run e2e/setup/vllm.sh", realVersion)
	}
	modules := slices.Clone(samples)
	for _, row := range phaseRows {
		if !strings.Contains(row.module, "*") && !slices.Contains(modules, row.module) {
			modules = append(modules, row.module)
		}
	}
	pid, imported := importAll(t, python, modules)
	w, err := FindWorker(pid, Options{})
	qt.Assert(t, qt.IsNil(err))
	fs, changed, err := w.Functions()
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.IsTrue(changed))
	t.Logf("%d functions in %d modules that matter", len(fs), len(w.functions.watched))

	known := map[string][]KnownFunction{}
	for _, f := range fs {
		known[f.Name] = append(known[f.Name], f)
	}
	has := sourceFunctions(t, realVersion)
	checked := 0
	for _, row := range phaseRows {
		for _, name := range row.names {
			inSource := slices.ContainsFunc(has, func(fn string) bool { return rowHas(row.module, name, fn) })
			if !inSource || !slices.Contains(imported, row.module) || strings.HasPrefix(name, "*") {
				continue
			}
			checked++
			ok := slices.ContainsFunc(known[name], func(f KnownFunction) bool { return f.Phase == row.phase })
			qt.Check(t, qt.IsTrue(ok), qt.Commentf("%s:%s is not found", row.module, name))
		}
	}
	t.Logf("%d names checked", checked)
	qt.Check(t, qt.IsTrue(checked > 100))
	for _, name := range sampled {
		qt.Check(t, qt.Not(qt.HasLen(known[name], 0)), qt.Commentf("%s is not found", name))
	}
	cells := map[bool]int{}
	for _, f := range known["GPUModelRunner.execute_model"] {
		qt.Check(t, qt.Equals(f.OutputLocal, 1))
		cells[f.OutputCell]++
	}
	qt.Check(t, qt.DeepEquals(cells, map[bool]int{true: 1, false: 1})) // V1 and V2
	_, changed, err = w.Functions()
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.IsFalse(changed))

	// No graph on this build, and all its wrapper classes keep their instances.
	got, err := w.Graphs(func(uint64) bool { return true })
	qt.Check(t, qt.Not(qt.IsNil(err))) // no runner
	qt.Check(t, qt.HasLen(got.Graphs, 0))
	qt.Check(t, qt.HasLen(got.Unnamed, 0))
}

// importAll runs testdata/import.py and gives the modules that it could import.
func importAll(t *testing.T, python string, modules []string) (pid int, imported []string) {
	cmd := exec.Command(python, append([]string{filepath.Join("testdata", "import.py")}, modules...)...)
	cmd.Env = append(os.Environ(), "VLLM_NO_USAGE_STATS=1", "HF_HUB_OFFLINE=1", "VLLM_LOGGING_LEVEL=ERROR")
	stdin, err := cmd.StdinPipe()
	qt.Assert(t, qt.IsNil(err))
	out, err := cmd.StdoutPipe()
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.IsNil(cmd.Start()))
	t.Cleanup(func() {
		stdin.Close()
		cmd.Process.Kill()
		cmd.Wait()
	})
	var answer struct {
		Imported []string
		Failed   map[string]string
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if json.Unmarshal(lines.Bytes(), &answer) == nil && len(answer.Imported) > 0 {
			break
		}
	}
	for name, why := range answer.Failed {
		t.Logf("%s: %s", name, why)
	}
	qt.Assert(t, qt.Not(qt.HasLen(answer.Imported, 0)))
	return cmd.Process.Pid, answer.Imported
}
