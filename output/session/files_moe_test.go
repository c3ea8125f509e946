package session

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"testing"

	"github.com/go-quicktest/qt"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/internal/traffic"
)

// withExperts makes the session one of a recorded server whose model has experts.
func withExperts(facts *Facts) {
	facts.Start.Profilers = append(facts.Start.Profilers[:len(facts.Start.Profilers):len(facts.Start.Profilers)], ProfilerMoE)
	engine := facts.Engine(0)
	engine.MoELayers = []int32{1, 3}
	facts.Add(record.Fact{Engine: &engine})
	facts.Add(record.Fact{Injected: &record.Injected{State: record.InjectedRunning, CUPTI: 130000}})
}

// expertRows are two windows of a layer with 4 experts, of which one is never chosen, and
// one of a layer in which it is not known how many there are.
func expertRows(t *testing.T, tables *Tables) {
	var errs []error
	activation := func(engine, layer int32, window, expert int, n int64) {
		errs = append(errs, tables.MoEActivation(&record.MoEActivationRow{
			Engine: engine, Layer: layer, FromNS: int64(window) * 10e9, ToNS: int64(window+1) * 10e9, Expert: int32(expert), Activations: n, Tokens: 10,
		}))
	}
	activation(0, 1, 0, 0, 3)
	activation(0, 1, 0, 1, 10)
	activation(0, 1, 0, 3, 7)
	activation(0, 3, 0, 0, 5)
	activation(0, 3, 0, 1, 15)
	activation(0, 1, 1, 0, 1)
	activation(1, 1, 1, 1, 1) // another engine's
	for _, r := range []record.MoECoselectionRow{
		{Layer: 1, Expert1: 0, Expert2: 1, Count: 3},
		{Layer: 1, Expert1: 1, Expert2: 3, Count: 7},
		{Layer: 3, Expert1: 0, Expert2: 1, Count: 5},
		{Layer: 1, FromNS: 600e9, Expert1: 0, Expert2: 1, Count: 1},
	} {
		errs = append(errs, tables.MoECoselection(&r))
	}
	for _, r := range []record.MoEWeightRow{
		{Layer: 1, Token: 0, Expert: 1, Weight: 0.75}, {Layer: 1, Token: 0, Expert: 3, Weight: 0.2498779296875}, {StepID: 4, Layer: 3, Token: 7, Expert: 0, Weight: 1},
	} {
		errs = append(errs, tables.MoEWeight(&r))
	}
	for _, r := range []record.MoEImbalanceRow{
		{Layer: 1, Tokens: 10, StdDev: 3.8078865529, Used: 3, Experts: new(int32(4)), TopK: 2},
		{Layer: 3, Tokens: 10, StdDev: 5, MaxMinRatio: new(3.0), Used: 2, TopK: 2},
		{Layer: 1, FromNS: 10e9, Tokens: 1, StdDev: 0.5, Used: 1, Experts: new(int32(4)), TopK: 2},
	} {
		errs = append(errs, tables.MoEImbalance(&r))
	}
	qt.Assert(t, qt.IsNil(errors.Join(errs...)))
}

func TestFilesOfExperts(t *testing.T) {
	d, facts := traced(t, traffic.Decode32, 0, func(tables *Tables) { expertRows(t, tables) })
	withExperts(facts)
	facts.DummyPasses, facts.MissingLayers = 5, 6
	summary, err := WriteFiles(d, facts, true)
	qt.Assert(t, qt.IsNil(err))
	for name, text := range map[string]string{
		FileMoEActivations: sessionHeaders[FileMoEActivations] + `
1,0,4,18.18
1,1,11,50.00
1,3,7,31.82
3,0,5,25.00
3,1,15,75.00
`,
		FileMoECoselection: sessionHeaders[FileMoECoselection] + `
1,0,1,4
1,1,3,7
3,0,1,5
`,
		FileMoEWeights: sessionHeaders[FileMoEWeights] + `
1,0,1,0.750000
1,0,3,0.249878
3,7,0,1.000000
`,
		FileMoEImbalance: sessionHeaders[FileMoEImbalance] + `
1,0.000,3.808,
3,0.000,5.000,3.000
1,10.000,0.500,
`,
		FileMoESummary: `{
  "layer_1": {
    "num_experts": 4,
    "top_k": 2,
    "total_activations": 22,
    "unique_experts_activated": 3,
    "activation_coverage_pct": 75.00,
    "mean_activations_per_expert": 5.50,
    "std_dev_activations": 4.03,
    "min_activations": 0,
    "max_activations": 11,
    "load_balance_ratio": null
  },
  "layer_3": {
    "num_experts": 2,
    "top_k": 2,
    "total_activations": 20,
    "unique_experts_activated": 2,
    "activation_coverage_pct": 100.00,
    "mean_activations_per_expert": 10.00,
    "std_dev_activations": 5.00,
    "min_activations": 5,
    "max_activations": 15,
    "load_balance_ratio": 3.00
  }
}
`,
	} {
		qt.Check(t, qt.Equals(read(t, d, name), text), qt.Commentf(name))
	}
	qt.Check(t, qt.IsTrue(tracksExperts(t, d)))
	qt.Check(t, qt.StringContains(read(t, d, FileMetadata), `  "moe": {
    "source": "kernel",
    "layers": 2,
    "num_experts": 4,
    "top_k": 2,
    "total_activations": 42,
    "worst_layer": 1,
    "worst_max_mean_ratio": 2.00,
    "cold_experts": 1,
    "dummy_passes": 5,
    "missing_layers": 6
  },
`))
	qt.Check(t, qt.Equals(summary.MoE.Cold, 1))
	var text bytes.Buffer
	qt.Assert(t, qt.IsNil(summary.WriteText(&text)))
	qt.Check(t, qt.StringContains(text.String(),
		"MoE          2 layers, 4 experts, top 2; 42 activations; the most chosen expert has 2.00 times the mean in the worst layer (1); 1 experts never chosen, in 1 layers\n"))
}

func tracksExperts(t *testing.T, d *Dir) bool {
	var meta struct {
		MoE bool `json:"moe_expert_tracking"`
	}
	qt.Assert(t, qt.IsNil(json.Unmarshal([]byte(read(t, d, FileMetadata)), &meta)))
	return meta.MoE
}

// TestFilesWithoutExperts: where choices cannot be seen there are no files, and the
// reason is said.
func TestFilesWithoutExperts(t *testing.T) {
	for why, change := range map[string]func(*record.Engine, *record.Injected){
		"no layer with experts":   func(e *record.Engine, _ *record.Injected) { e.MoELayers = nil },
		"the model is in process": func(e *record.Engine, _ *record.Injected) { e.MoELayers, e.TP = nil, 2 },
		"pmtrace record":          func(_ *record.Engine, i *record.Injected) { i.State = record.InjectedFailed },
		"a draft model runs":      func(e *record.Engine, _ *record.Injected) { e.SpecTokens = 3 },
		"a draft model runs betw": func(e *record.Engine, _ *record.Injected) { e.SpecTokens, e.DraftMoELayers = 3, new(1) },
		"":                        func(e *record.Engine, _ *record.Injected) { e.SpecTokens, e.DraftMoELayers = 3, new(0) },
	} {
		t.Run(why, func(t *testing.T) {
			d, facts := traced(t, traffic.Decode32, 2, nil)
			withExperts(facts)
			change(&facts.Engines[0], &facts.Injected[0])
			summary, err := WriteFiles(d, facts, true)
			qt.Assert(t, qt.IsNil(err))
			qt.Check(t, qt.Equals(tracksExperts(t, d), why == ""))
			_, err = fs.Stat(d.FS(), FileMoESummary)
			var text bytes.Buffer
			qt.Assert(t, qt.IsNil(summary.WriteText(&text)))
			if why == "" {
				qt.Check(t, qt.IsNil(err))
				return
			}
			qt.Check(t, qt.ErrorIs(err, fs.ErrNotExist))
			qt.Check(t, qt.StringContains(text.String(), "Unavailable"))
			qt.Check(t, qt.StringContains(text.String(), why))
		})
	}
}
