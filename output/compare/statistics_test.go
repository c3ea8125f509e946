package compare

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

const pressure = "../../cmd/pmtrace/testdata/recorded/h200-pressure"
const gpu = "../../e2e/gpu/testdata"

// sources are real servers: one out of KV blocks, one bound by the GPU, two by the host.
func sources(t testing.TB) map[string]*rows {
	m := map[string]*rows{
		"pressure":  recorded(t, pressure),
		"llama8b":   recorded(t, gpu, "h200-llama8b"),
		"llama1b":   recorded(t, gpu, "h200-llama1b"),
		"qwen3-moe": recorded(t, gpu, "h200-qwen3moe-v1"),
	}
	more, _ := filepath.Glob(os.Getenv("PMTRACE_SESSIONS"))
	for _, path := range more {
		m[filepath.Base(path)] = recorded(t, path)
	}
	return m
}

// drawRuns makes runs of the same set-up of a run's blocks.
func drawRuns(metrics []Metric, r *Run, n int, stream uint64) [][]float64 {
	random := newRandom(stream)
	var v [][]float64
	for range n {
		v = append(v, values(metrics, r.draw(random)))
	}
	return v
}

func anyShown(p []float64) bool {
	return slices.ContainsFunc(p, func(p float64) bool { return p <= Level })
}

// again makes a run of a run's blocks.
func again(r *Run, stream uint64) *Run {
	b := &Run{seconds: r.seconds, peak: r.peak}
	for i, n := range r.picks(newRandom(stream)) {
		for range n {
			b.blocks = append(b.blocks, r.blocks[i])
		}
	}
	b.index()
	return b
}

func TestOne(t *testing.T) {
	for name, rows := range sources(t) {
		a, slow := rows.run(1, 1e9), rows.run(1.03, 1.03e9)
		if len(a.blocks) < minBlocks {
			continue
		}
		metrics := metricsOf([]*Run{a})
		alarms, found := 0, 0
		began := time.Now()
		for i := range 60 {
			one := again(a, uint64(3*i))
			p := withinRuns(metrics, one, again(a, uint64(3*i+1)))
			if anyShown(p) {
				alarms++
			}
			if anyShown(withinRuns(metrics, one, again(slow, uint64(3*i+2)))) {
				found++
			}
		}
		fmt.Println(name, "blocks", len(a.blocks), "alarms", alarms, "found", found, "of 60", time.Since(began))
	}
}
