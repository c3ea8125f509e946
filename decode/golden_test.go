package decode_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"testing"

	"github.com/go-quicktest/qt"
)

var update = flag.Bool("update", false, "write the golden file anew")

// TestGolden: the rows of a small journal, to be read by people.
func TestGolden(t *testing.T) {
	s := newSim(simConfig{
		seed: 2, caching: true, async: true, v2: true, front: true, setOfReset: true,
		blocks: 13, blockSize: 8, maxSeqs: 3, maxTokens: 32, requests: 6, prompt: 40, outputs: 30, sharing: 1,
	})
	s.run()
	got, _ := replay(t, s.events)
	var b bytes.Buffer
	line := func(table string, row any) {
		b.WriteString(table + " ")
		qt.Assert(t, qt.IsNil(json.NewEncoder(&b).Encode(row)))
	}
	for _, r := range got.Steps {
		line("step", r)
	}
	for _, r := range got.StepRequests {
		line("step_request", r)
	}
	for _, r := range got.Requests {
		line("request", r)
	}
	for _, r := range got.Preemptions {
		line("preemption", r)
	}
	for _, r := range got.Evictions {
		line("kv_eviction", r)
	}
	const path = "testdata/golden.txt"
	if *update {
		qt.Assert(t, qt.IsNil(os.WriteFile(path, b.Bytes(), 0o644)))
	}
	want, err := os.ReadFile(path)
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.Equals(b.String(), string(want)))
}
