//go:build e2e

package e2e

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/session"
)

const moeLayers = 3 // of the program's four the first has no experts

func moeLoad(more ...string) []string {
	return append(append(load(), "--experts", "60", "--top-k", "4"), more...)
}

// choices are counts of what tokens chose.
type choices struct {
	chosen map[[2]int]int64 // by layer and expert
	pairs  map[[3]int]int64 // by layer and two experts, the lower first
}

func newChoices() *choices {
	return &choices{chosen: map[[2]int]int64{}, pairs: map[[3]int]int64{}}
}

func chosenOf(truth *gpuTruth) *choices {
	c := newChoices()
	for _, r := range truth.routings {
		layer := int(r.Layer)
		for token := range slices.Chunk(r.IDs, r.TopK) {
			for i, a := range token {
				c.chosen[[2]int{layer, a}]++
				for _, b := range token[:i] {
					c.pairs[[3]int{layer, min(a, b), max(a, b)}]++
				}
			}
		}
	}
	return c
}

func readChoices(t *testing.T, path string) *choices {
	t.Helper()
	dir, c := openSession(t, path), newChoices()
	collect(t, dir, func(r *record.MoEActivationRow) { c.chosen[[2]int{int(r.Layer), int(r.Expert)}] += r.Activations })
	collect(t, dir, func(r *record.MoECoselectionRow) {
		c.pairs[[3]int{int(r.Layer), int(r.Expert1), int(r.Expert2)}] += r.Count
	})
	return c
}

// sameCounts compares them, value by value.
func sameCounts[K comparable](t *testing.T, what string, got, want map[K]int64) {
	t.Helper()
	d := &differences{t: t, what: what}
	for key, n := range want {
		d.check(got[key] == n, "%v: %d, want %d", key, got[key], n)
	}
	for key, n := range got {
		if _, ok := want[key]; !ok {
			d.check(false, "%v: %d, want none", key, n)
		}
	}
	d.end(len(want))
}

// weightsMatch: each weight is that of an expert which the token of the row chose.
func weightsMatch(t *testing.T, path string, truth *gpuTruth) {
	t.Helper()
	type at struct {
		step  int
		layer int32
	}
	routings := map[at]gpuRouting{}
	for _, r := range truth.routings {
		routings[at{r.Step, r.Layer}] = r
	}
	d, n := &differences{t: t, what: "weights"}, 0
	collect(t, openSession(t, path), func(w *record.MoEWeightRow) {
		n++
		r := routings[at{int(w.StepID), w.Layer}]
		first := int(w.Token) * r.TopK
		if first+r.TopK > len(r.IDs) {
			d.check(false, "step %d, layer %d has no token %d", w.StepID, w.Layer, w.Token)
			return
		}
		i := slices.Index(r.IDs[first:first+r.TopK], int(w.Expert))
		d.check(i >= 0 && math.Abs(float64(w.Weight)-1/float64(1+i)) < 1e-3, "%+v, of %v", *w, r.IDs[first:first+r.TopK])
	})
	d.end(n)
	if n == 0 {
		t.Error("no weights")
	}
}

// moeMetadata is what metadata.json says of experts.
func moeMetadata(t *testing.T, path string) (tracked bool, missing []record.Unavailable) {
	t.Helper()
	var m struct {
		MoE         bool `json:"moe_expert_tracking"`
		Unavailable []record.Unavailable
	}
	data, err := os.ReadFile(filepath.Join(path, "metadata.json"))
	if err == nil {
		err = json.Unmarshal(data, &m)
	}
	if err != nil {
		t.Fatal(err)
	}
	return m.MoE, slices.DeleteFunc(m.Unavailable, func(u record.Unavailable) bool { return u.Profiler != session.ProfilerMoE })
}

var moeFiles = []string{session.FileMoEActivations, session.FileMoECoselection, session.FileMoEWeights, session.FileMoEImbalance, session.FileMoESummary}

// TestRecordMoE: of each token of each step is counted what it chose, and nothing of
// padding, warm-ups and captures. Times and steps are the truth's as well; where the host
// is late, or graphs are captured anew, that is for other tests.
func TestRecordMoE(t *testing.T) {
	b := shapeBench(t)
	for _, c := range []struct {
		name, kernels string
		alone         bool // what is not about experts is not compared
		args          []string
	}{
		{"v2 async", "off", false, []string{"--cuda", "v2", "--async"}},
		{"v1 sync", "off", false, []string{"--cuda", "v1"}},
		{"v1 async", "off", false, []string{"--cuda", "v1", "--async"}},
		{"v1 few graphs", "off", false, []string{"--cuda", "v1", "--async", "--capture", "1,2,32"}},
		{"v2 bound by the GPU", "off", false, []string{"--cuda", "v2", "--async", "--rate", "0", "--forward", "15000"}},
		{"v2 as fast as it goes", "off", true, []string{"--cuda", "v2", "--async", "--rate", "0", "--forward", "100", "--requests", "600"}},
		{"v2 graphs captured anew", "off", true, []string{"--cuda", "v2", "--recapture", "40"}},
		{"v1 replays on a thread", "off", true, []string{"--cuda", "v1", "--native", "20"}},
		{"v2 kernels", "200ms/1s", true, []string{"--cuda", "v2", "--async"}},
		{"v2 two ranks", "off", true, []string{"--cuda", "v2", "--async", "--tp", "2"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.name != "v2 async" {
				full(t)
			}
			s, tr, tables := b.recorded(t, nil, []string{"--moe", "on", "--moe-sample", "8", "--kernels", c.kernels, "--cpu-windows", "always"}, moeLoad(c.args...)...)
			truth := readTruth(t, s.file, 0)
			ranAll(t, truth)
			want, got := chosenOf(truth), readChoices(t, tr.session(t))
			sameCounts(t, "experts", got.chosen, want.chosen)
			sameCounts(t, "pairs of experts", got.pairs, want.pairs)
			weightsMatch(t, tr.session(t), truth)
			for _, l := range tables.losses {
				t.Errorf("lost: %+v", l)
			}
			if !c.alone {
				tables.stepsMatch(t, truth) // pmtrace's own kernels are counted among the launches
				tables.replaysMatch(t, s, never)
				tables.measuredMatch(t, s, 2)
			}
			tracked, missing := moeMetadata(t, tr.session(t))
			if !tracked || len(missing) > 0 {
				t.Errorf("metadata.json: moe_expert_tracking is %v, without %v", tracked, missing)
			}
			for _, name := range moeFiles {
				if info, err := os.Stat(filepath.Join(tr.session(t), name)); err != nil || info.Size() == 0 {
					t.Errorf("%s: %v", name, err)
				}
			}
		})
	}
}

// ranAll: the truth has all layers of each step, and steps of every kind.
func ranAll(t *testing.T, truth *gpuTruth) {
	t.Helper()
	modes, layers := map[string]int{}, map[int]int{}
	for _, r := range truth.routings {
		layers[r.Step]++
		if len(r.IDs) != r.TopK*truth.steps[r.Step].Tokens {
			t.Fatalf("step %d of %d tokens: %d ids", r.Step, truth.steps[r.Step].Tokens, len(r.IDs))
		}
	}
	padded := 0
	for _, s := range truth.steps {
		if s.Mode == nil {
			continue
		}
		modes[*s.Mode]++
		if s.Padded > s.Tokens {
			padded++
		}
		if layers[s.Step] != moeLayers {
			t.Fatalf("step %d: %d layers", s.Step, layers[s.Step])
		}
	}
	t.Logf("%d steps: %v, %d padded", len(truth.steps), modes, padded)
	if modes["NONE"] == 0 || modes["PIECEWISE"] == 0 || modes["FULL"] == 0 || padded == 0 {
		t.Error("a kind of steps is missing")
	}
}

// TestRecordMoEWithout: without being asked nothing is told of experts; where it cannot be,
// that is said.
func TestRecordMoEWithout(t *testing.T) {
	b := shapeBench(t)
	for _, c := range []struct {
		name, moe, says, lost string
		args                  []string
	}{
		{"off", "off", "", "", moeLoad("--cuda", "v2", "--async")},
		{"no experts", "on", "no layer with experts was found in the model", "", append(load(), "--cuda", "v2", "--async")},
	} {
		t.Run(c.name, func(t *testing.T) {
			full(t)
			s, tr, tables := b.recorded(t, nil, []string{"--kernels", "off", "--moe", c.moe, "--cpu-windows", "always"}, c.args...)
			tables.replaysMatch(t, s, never)
			got := readChoices(t, tr.session(t))
			if len(got.chosen) > 0 || len(got.pairs) > 0 {
				t.Errorf("%d experts and %d pairs", len(got.chosen), len(got.pairs))
			}
			tracked, missing := moeMetadata(t, tr.session(t))
			if tracked {
				t.Error("metadata.json: moe_expert_tracking")
			}
			if said := len(missing) > 0; said != (c.says != "") || said && !strings.HasPrefix(missing[0].Reason, c.says) {
				t.Errorf("without %v, want %q", missing, c.says)
			}
			if c.says == "" && strings.Contains(tr.stderr.String(), "experts") {
				t.Errorf("experts are spoken of: %s", tr.stderr.String())
			}
			for _, l := range tables.losses {
				if l.Reason != c.lost {
					t.Errorf("lost: %+v", l)
				}
			}
		})
	}
}
