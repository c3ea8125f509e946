package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-quicktest/qt"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/session"
)

// Journals of a real vLLM 0.33.0 on an H200 (asynchronous scheduling, V2 model
// runner, CPython 3.12), recorded on 2026-11-23. The figures are the server's and
// the clients' own: its iteration log, /metrics, what clients counted.
func TestRecorded(t *testing.T) {
	for _, c := range []struct {
		name                                  string
		steps, withTokens, requests, finished int
		scheduled, handedOut                  int64
		evictions, preemptions                int
		cached                                int64
	}{
		{"h200-pressure", 4323, 4301, 748, 748, 411484, 95707, 25476, 241, 28544},
		{"h200-midload", 704, 702, 134, 134, 36403, 18719, 2332, 0, 4608},
		{"h200-record", 370, 368, 100, 100, 21595, 5097, 90, 0, 4224},
	} {
		t.Run(c.name, func(t *testing.T) {
			place := filepath.Join(t.TempDir(), c.name)
			qt.Assert(t, qt.IsNil(os.CopyFS(place, os.DirFS(filepath.Join("testdata", "recorded", c.name)))))
			var stderr strings.Builder
			code := run(t.Context(), []string{"decode", place}, nil, io.Discard, &stderr, nil)
			qt.Assert(t, qt.Equals(code, 0), qt.Commentf("%s", stderr.String()))
			qt.Assert(t, qt.StringContains(stderr.String(), "Lost events  0"))

			dir, err := session.Open(place)
			qt.Assert(t, qt.IsNil(err))
			defer dir.Close()
			var steps, withTokens int
			var scheduled int64
			for s, err := range session.Rows[record.StepRow](dir) {
				qt.Assert(t, qt.IsNil(err))
				steps++
				scheduled += int64(s.Tokens)
				if s.Tokens > 0 {
					withTokens++
				}
			}
			qt.Check(t, qt.Equals(steps, c.steps))
			qt.Check(t, qt.Equals(withTokens, c.withTokens))
			qt.Check(t, qt.Equals(scheduled, c.scheduled))

			var requests, finished int
			var handedOut, cached int64
			for r, err := range session.Rows[record.RequestRow](dir) {
				qt.Assert(t, qt.IsNil(err))
				requests++
				if r.FinishedNS != nil {
					finished++
				}
				if r.CachedTokens != nil {
					cached += int64(*r.CachedTokens)
				}
			}
			for s, err := range session.Rows[record.StepRequestRow](dir) {
				qt.Assert(t, qt.IsNil(err))
				if s.OutputTokens != nil {
					handedOut += int64(*s.OutputTokens)
				}
			}
			qt.Check(t, qt.Equals(requests, c.requests))
			qt.Check(t, qt.Equals(finished, c.finished))
			qt.Check(t, qt.Equals(handedOut, c.handedOut))
			qt.Check(t, qt.Equals(cached, c.cached))
			qt.Check(t, qt.Equals(count[record.KVEvictionRow](t, dir), c.evictions))
			qt.Check(t, qt.Equals(count[record.PreemptionRow](t, dir), c.preemptions))
			qt.Check(t, qt.Equals(count[record.LossRow](t, dir), 0))
		})
	}
}

func count[T any](t *testing.T, dir *session.Dir) (n int) {
	for _, err := range session.Rows[T](dir) {
		qt.Assert(t, qt.IsNil(err))
		n++
	}
	return n
}
