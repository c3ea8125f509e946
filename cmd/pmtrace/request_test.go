package main

import (
	"encoding/json"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-quicktest/qt"

	"github.com/pmtrace/pmtrace/output/report"
	"github.com/pmtrace/pmtrace/output/session"
)

var updateRequests = flag.Bool("update-requests", false, "write the golden files of request anew")

// decoded makes the tables of a recorded session.
func decoded(t testing.TB, recorded string) string {
	place := filepath.Join(t.TempDir(), filepath.Base(recorded))
	qt.Assert(t, qt.IsNil(os.CopyFS(filepath.Join(place, "journal"), os.DirFS(filepath.Join(recorded, "journal")))))
	var stderr strings.Builder
	code := run(t.Context(), []string{"decode", "--no-csv", place}, nil, io.Discard, &stderr, nil)
	qt.Assert(t, qt.Equals(code, 0), qt.Commentf("%s", stderr.String()))
	return place
}

const (
	pressure = "testdata/recorded/h200-pressure"
	llama8b  = "../../e2e/gpu/testdata/h200-llama8b"
)

// What is printed of real sessions. docs/requests.md shows the first of them.
func TestRequestText(t *testing.T) {
	page, err := os.ReadFile("../../docs/requests.md")
	qt.Assert(t, qt.IsNil(err))
	places := map[string]string{pressure: decoded(t, pressure), llama8b: decoded(t, llama8b)}
	for _, c := range []struct {
		golden, recorded string
		args             []string
		shown            bool
	}{
		{"prefills", llama8b, []string{"cmpl-944b", "--tokens", "2"}, true},
		{"list", pressure, []string{"--top", "5"}, false},
		{"preempted", pressure, []string{"309", "--tokens", "3"}, false},
	} {
		var out, stderr strings.Builder
		code := run(t.Context(), append([]string{"request", places[c.recorded]}, c.args...), nil, &out, &stderr, nil)
		qt.Assert(t, qt.Equals(code, 0), qt.Commentf("%s", stderr.String()))
		path := filepath.Join("testdata", "request", c.golden+".golden")
		if *updateRequests {
			qt.Assert(t, qt.IsNil(os.WriteFile(path, []byte(out.String()), 0o644)))
		}
		want, err := os.ReadFile(path)
		qt.Assert(t, qt.IsNil(err))
		qt.Check(t, qt.Equals(out.String(), string(want)), qt.Commentf("if this is right: go test ./cmd/pmtrace -run TestRequestText -update-requests"))
		if c.shown {
			qt.Check(t, qt.StringContains(string(page), out.String()))
		}
	}
}

// The parts of each request of real sessions sum to the whole, to the nanosecond.
func TestRequestSums(t *testing.T) {
	for _, recorded := range []string{
		pressure, "testdata/recorded/h200-midload", "testdata/recorded/h200-record",
		llama8b, "../../e2e/gpu/testdata/h200-llama1b", "../../e2e/gpu/testdata/h200-qwen3moe-v1",
	} {
		t.Run(filepath.Base(recorded), func(t *testing.T) {
			dir, err := session.Open(decoded(t, recorded))
			qt.Assert(t, qt.IsNil(err))
			defer dir.Close()
			limits, err := limitsOf(dir)
			qt.Assert(t, qt.IsNil(err))
			list, all, err := report.Slowest(dir, report.ByTotal, 1<<20, limits)
			qt.Assert(t, qt.IsNil(err))
			qt.Assert(t, qt.HasLen(list, all))
			for i := range list {
				checkSums(t, &list[i])
			}
			for _, r := range list[:3] {
				d, err := report.Explain(dir, r.RequestID, 1<<20, limits)
				qt.Assert(t, qt.IsNil(err))
				checkSums(t, &d.Request)
				for _, g := range d.Slowest {
					qt.Assert(t, qt.Equals(g.Parts.Sum(), g.NS))
				}
			}
		})
	}
}

func checkSums(t *testing.T, r *report.Request) {
	t.Helper()
	at := qt.Commentf("%s", r.RequestID)
	qt.Assert(t, qt.Equals(r.Total.Sum(), *r.FinishedNS-*r.ArrivalNS), at)
	for part, ns := range r.Total {
		qt.Assert(t, qt.IsTrue(ns >= 0), at)
		if r.First != nil {
			qt.Assert(t, qt.Equals(r.First[part]+r.After[part], ns), at)
		}
	}
	if r.First != nil {
		qt.Assert(t, qt.Equals(r.First.Sum(), *r.TTFTNS), at)
	}
}

func TestRequestJSON(t *testing.T) {
	place := decoded(t, llama8b)
	for _, args := range [][]string{{"--top", "2"}, {"194"}} {
		var out strings.Builder
		qt.Assert(t, qt.Equals(run(t.Context(), append([]string{"request", "--json", place}, args...), nil, &out, io.Discard, nil), 0))
		var v struct {
			Slowest []struct {
				Total map[string]int64 `json:"total"`
			} `json:"slowest"`
			TTFT  int64            `json:"ttft_ns"`
			First map[string]int64 `json:"to_first_token"`
		}
		qt.Assert(t, qt.IsNil(json.Unmarshal([]byte(out.String()), &v)))
		if len(args) == 2 {
			qt.Check(t, qt.HasLen(v.Slowest, 2))
			continue
		}
		sum := int64(0)
		for _, ns := range v.First {
			sum += ns
		}
		qt.Check(t, qt.Equals(sum, v.TTFT))
	}
}

func TestRequestErrors(t *testing.T) {
	empty := t.TempDir()
	place := decoded(t, llama8b)
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{nil, exitUsage, "request wants a session directory, and perhaps a request: "},
		{[]string{empty, "--by", "age"}, exitUsage, `--by: "age" is not one of total, ttft, tpot, queue; see`},
		{[]string{empty, "--top", "0"}, exitUsage, "--top 0: want 1 or more"},
		{[]string{empty}, exitFailed, "it has no table of requests; make its tables with pmtrace decode"},
		{[]string{empty + "/none"}, exitFailed, "no such file or directory; name a directory that pmtrace made"},
		{[]string{place, "nobody"}, exitFailed, `none of its 202 requests is called "nobody"; without an ID`},
		{[]string{place, "cmpl-9"}, exitFailed, `requests are called "cmpl-9": `},
	} {
		var stderr strings.Builder
		qt.Check(t, qt.Equals(run(t.Context(), append([]string{"request"}, c.args...), nil, io.Discard, &stderr, nil), c.code))
		qt.Check(t, qt.StringContains(stderr.String(), c.want))
		qt.Check(t, qt.Equals(strings.Count(stderr.String(), "\n"), 1))
	}
}
