package main

import (
	"compress/gzip"
	"encoding/csv"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/go-quicktest/qt"

	"github.com/pmtrace/pmtrace/decode"
	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/journal"
)

// Journals of vLLM 0.33.0 on an H200 (torch 2.11, CUDA 13.0, asynchronous
// scheduling, 1 to 128 clients and long prompts; recorded on 2026-11-24), with
// CUPTI's records of the same run, and what vLLM's own --cudagraph-metrics counted.
func TestH200(t *testing.T) {
	for _, c := range []struct {
		name                   string
		replays                int
		full, piecewise, eager int
		waited                 int     // steps of FULL graphs that the host waited for, as for the one before
		median, p99            float64 // bounds of their relative error; 0: the host was always late
	}{
		{"h200-llama8b", 1093, 928, 5, 10, 700, 0.02, 0.1},
		{"h200-llama1b", 695, 610, 5, 11, 0, 0, 0},
		{"h200-qwen3moe-v1", 658, 613, 5, 14, 0, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join("testdata", c.name)
			s := replay(t, filepath.Join(dir, "journal"))
			truth := unpackTruth(t, filepath.Join(dir, "cupti.gz"))
			r := compare(s, truth)

			// Each replay was seen, and each has its name.
			qt.Check(t, qt.Equals(r.Replays.Launched, c.replays))
			qt.Check(t, qt.Equals(r.Replays.Named, c.replays))
			qt.Check(t, qt.Equals(r.Replays.Missing+r.Replays.Extra+r.Replays.BeforeLaunch, 0))
			qt.Check(t, qt.Equals(r.Replays.Dropped, 0))
			qt.Check(t, qt.DeepEquals(r.Modes, map[string]int{"FULL": c.full, "PIECEWISE": c.piecewise, "NONE": c.eager}))
			samePadding(t, s, filepath.Join(dir, "cudagraph_stat.csv"))

			// The bounds hold for 99 of 100.
			all := r.Waited.Steps + r.NotWaited.Steps
			within := r.Waited.WithinBound*float64(r.Waited.Steps) + r.NotWaited.WithinBound*float64(r.NotWaited.Steps)
			qt.Check(t, qt.IsTrue(all > 500))
			qt.Check(t, qt.IsTrue(within/float64(all) >= 0.99), qt.Commentf("%f", within/float64(all)))

			errors := relativeErrors(s, r.steps)
			qt.Check(t, qt.IsTrue(len(errors) >= c.waited), qt.Commentf("%d", len(errors)))
			if c.waited > 0 {
				got := of(errors)
				qt.Check(t, qt.IsTrue(got.Median <= c.median), qt.Commentf("%+v", got))
				qt.Check(t, qt.IsTrue(got.P99 <= c.p99), qt.Commentf("%+v", got))
			}
		})
	}
}

func replay(t *testing.T, dir string) *traced {
	t.Helper()
	r, err := journal.Open(os.DirFS(dir))
	qt.Assert(t, qt.IsNil(err))
	defer r.Close()
	return decoded(t, func(take func(kind byte, payload []byte)) {
		for {
			rec, err := r.Next()
			if errors.Is(err, io.EOF) {
				return
			}
			qt.Assert(t, qt.IsNil(err))
			take(rec.Kind, rec.Payload)
		}
	})
}

// decoded is what records say that are handed to it one by one; nothing may be lost.
func decoded(t *testing.T, records func(take func(kind byte, payload []byte))) *traced {
	t.Helper()
	s := &traced{}
	p := decode.NewPipeline(&collector{traced: s}, decode.Options{OnError: func(err error) { t.Error(err) }})
	records(func(kind byte, payload []byte) {
		s.note(kind, payload)
		qt.Assert(t, qt.IsNil(p.Record(kind, payload)))
	})
	sum, err := p.Close()
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(sum.Lost, 0))
	s.absolute()
	return s
}

func unpackTruth(t *testing.T, path string) *truth {
	t.Helper()
	f, err := os.Open(path)
	qt.Assert(t, qt.IsNil(err))
	defer f.Close()
	z, err := gzip.NewReader(f)
	qt.Assert(t, qt.IsNil(err))
	b, err := io.ReadAll(z)
	qt.Assert(t, qt.IsNil(err))
	return parseTruth(b)
}

// samePadding compares with vLLM's CUDAGraphStat, where its log has it.
func samePadding(t *testing.T, s *traced, path string) {
	t.Helper()
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return // the log spans several sessions
	}
	qt.Assert(t, qt.IsNil(err))
	defer f.Close()
	want := map[shape]int{}
	lines, err := csv.NewReader(f).ReadAll() // unpadded, padded, paddings, mode, count
	qt.Assert(t, qt.IsNil(err))
	for _, l := range lines {
		n := make([]int, len(l))
		for i := range l {
			n[i], _ = strconv.Atoi(l[i])
		}
		want[shape{n[0], n[1], l[3]}] += n[4]
	}
	qt.Check(t, qt.DeepEquals(stepShapes(s.steps), want))
}

// relativeErrors are those of the steps between two waits of the host: the GPU was
// never without work.
func relativeErrors(s *traced, compared map[int64]float64) []float64 {
	var out []float64
	waited := func(st *record.StepRow) bool { return st.HostWaited != nil && *st.HostWaited }
	for i := 1; i < len(s.steps); i++ {
		st := &s.steps[i]
		if e, ok := compared[st.StepID]; ok && waited(st) && waited(&s.steps[i-1]) && *st.GraphMode == "FULL" {
			out = append(out, e)
		}
	}
	slices.Sort(out)
	return out
}
