package main

import (
	"compress/gzip"
	"encoding/json"
	"os"
	"testing"

	"github.com/go-quicktest/qt"

	"github.com/pmtrace/pmtrace/decode"
	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/session"
)

// choices adds up which experts tokens chose.
type choices struct {
	record.Discard
	counts map[[2]int32]int64 // layer, expert
	pairs  map[[3]int32]int64
}

func (c *choices) MoEActivation(r *record.MoEActivationRow) error {
	c.counts[[2]int32{r.Layer, r.Expert}] += r.Activations
	return nil
}

func (c *choices) MoECoselection(r *record.MoECoselectionRow) error {
	c.pairs[[3]int32{r.Layer, r.Expert1, r.Expert2}] += r.Count
	return nil
}

// TestChoices: of a recorded server of qwen3-moe on an H100, beside eight other servers (V2
// runner, FULL and PIECEWISE graphs, 1 to 100 clients, padded batches, aborted requests, long
// prompts), each count and each pair is what the plugin in the server (moe/) counted.
func TestChoices(t *testing.T) {
	const dir = "testdata/h100-qwen3moe-v2"
	f, err := os.Open(dir + "/choices.json.gz")
	qt.Assert(t, qt.IsNil(err))
	defer f.Close()
	z, err := gzip.NewReader(f)
	qt.Assert(t, qt.IsNil(err))
	var want struct {
		Steps, Tokens int64
		Counts        [][]int64
		Pairs         [][]int64 // [layer][a * experts + b], a < b
	}
	qt.Assert(t, qt.IsNil(json.NewDecoder(z).Decode(&want)))

	got := &choices{counts: map[[2]int32]int64{}, pairs: map[[3]int32]int64{}}
	place, err := session.Open(dir)
	qt.Assert(t, qt.IsNil(err))
	defer place.Close()
	p := decode.NewPipeline(got, decode.Options{})
	qt.Assert(t, qt.IsNil(eachRecord(place, p.Record)))
	stats, err := p.Close()
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.Equals(stats.Scheduled, want.Tokens))
	qt.Assert(t, qt.Equals(stats.MoE.MissingLayers, 0))
	experts := len(want.Counts[0])
	total := int64(0)
	for layer, counts := range want.Counts {
		for a, n := range counts {
			total += n
			qt.Check(t, qt.Equals(got.counts[[2]int32{int32(layer), int32(a)}], n), qt.Commentf("layer %d, expert %d", layer, a))
			for b := a + 1; b < experts; b++ {
				key := [3]int32{int32(layer), int32(a), int32(b)}
				if got.pairs[key] != want.Pairs[layer][a*experts+b] {
					t.Errorf("layer %d, experts %d and %d: %d, want %d", layer, a, b, got.pairs[key], want.Pairs[layer][a*experts+b])
				}
			}
		}
	}
	t.Logf("%d activations of %d tokens in %d steps", total, want.Tokens, want.Steps)
}
