package join

import (
	"encoding/json"
	"math"
	"testing"

	"github.com/go-quicktest/qt"

	"github.com/pmtrace/pmtrace/decode/model"
	"github.com/pmtrace/pmtrace/decode/record"
)

// A llama of 2 layers; by hand: each layer has 2·128·128 + 2·128·64 weights for
// attention, 3·128·256 behind it and 2·128 for norms; then there are 128 for the last
// norm and 128·2048 for logits: 557,696 weights of 2 bytes are read in a step. A token's
// row of the embedding has 256 bytes, its entry in the KV cache 2·2·64 numbers: 512 bytes.
const smallLlama = `{"model_type": "llama", "hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
	"num_key_value_heads": 2, "head_dim": 32, "intermediate_size": 256, "vocab_size": 2048, "dtype": "bfloat16"}`

func workOf(t *testing.T, fact record.Engine, rows []stepRow) *record.StepRow {
	t.Helper()
	j := New(&record.Discard{})
	e := j.engine(0)
	e.attach(&fact)
	e.primary = j.worker(0)
	e.primary.fact.PID = 7
	gpu, ok := model.FindGPU("NVIDIA H100 80GB HBM3")
	qt.Assert(t, qt.IsTrue(ok))
	d := j.device(1)
	d.pids, d.model = []int{7}, gpu
	st := &step{complete: true, rows: rows}
	for _, r := range rows {
		st.tokens += r.scheduled
	}
	row := &record.StepRow{StepGPUNS: new(int64(2_000_000))}
	e.fillWork(st, row)
	return row
}

func TestWork(t *testing.T) {
	fact := record.Engine{ModelConfig: json.RawMessage(smallLlama), KVCacheType: "auto", TP: 1, PP: 1}
	rows := []stepRow{{scheduled: 1, computed: 99}, {scheduled: 30, computed: 10}}
	row := workOf(t, fact, rows)
	want := 557_696*2 + 31*256 + (99+10)*512 + 31*512
	// Within a step keys and values that were just made are read again, too.
	qt.Assert(t, qt.IsNotNil(row.ModelBytes))
	qt.Check(t, qt.IsTrue(*row.ModelBytes == int64(want) || *row.ModelBytes == int64(want+31*512)), qt.Commentf("%d, want %d", *row.ModelBytes, want))
	qt.Check(t, qt.IsFalse(*row.ModelEstimated))
	qt.Check(t, qt.IsTrue(math.Abs(*row.MBU/(float64(*row.ModelBytes)/2e-3/3.35e12)-1) < 1e-9))
	qt.Check(t, qt.IsTrue(math.Abs(*row.MFU/(*row.ModelFLOPs/2e-3/989.4e12)-1) < 1e-9))

	fp8 := fact
	fp8.KVCacheType = "fp8_e4m3"
	qt.Check(t, qt.Equals(*row.ModelBytes-*workOf(t, fp8, rows).ModelBytes, (*row.ModelBytes-557_696*2-31*256)/2)) // the cache is half as big

	for name, change := range map[string]func(*record.Engine){
		"no config":     func(f *record.Engine) { f.ModelConfig = nil },
		"unknown model": func(f *record.Engine) { f.ModelConfig = json.RawMessage(`{"model_type": "novel"}`) },
		"unknown cache": func(f *record.Engine) { f.KVCacheType = "turbo" },
		"pipeline":      func(f *record.Engine) { f.PP = 2 },
	} {
		f := fact
		change(&f)
		qt.Check(t, qt.IsNil(workOf(t, f, rows).ModelBytes), qt.Commentf("%s", name))
	}
	qt.Check(t, qt.IsNil(workOf(t, fact, []stepRow{{scheduled: 1, computed: -1}}).ModelBytes))
}

// Which experts were chosen is not known: what is read is an estimate.
func TestWorkOfExperts(t *testing.T) {
	config := `{"model_type": "mixtral", "hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
		"head_dim": 32, "intermediate_size": 256, "vocab_size": 2048, "dtype": "bfloat16", "num_local_experts": 8, "num_experts_per_tok": 2}`
	fact := record.Engine{ModelConfig: json.RawMessage(config), TP: 1, PP: 1}
	row := workOf(t, fact, []stepRow{{scheduled: 1, computed: 5}, {scheduled: 1, computed: 5}})
	qt.Assert(t, qt.IsNotNil(row.ModelEstimated))
	qt.Check(t, qt.IsTrue(*row.ModelEstimated))
	shared := fact
	shared.DP = 2
	qt.Check(t, qt.IsNil(workOf(t, shared, []stepRow{{scheduled: 1, computed: 5}}).ModelBytes))
	one := workOf(t, fact, []stepRow{{scheduled: 1, computed: 5}})
	qt.Check(t, qt.IsFalse(*one.ModelEstimated)) // a token alone reads its own experts
}
