package page

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/go-quicktest/qt"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/session"
)

func handler(t *testing.T, steps int) (http.Handler, *session.Dir) {
	dir, facts := makeServer(t, steps)
	h, err := build(t, dir, facts).Handler(dir, "/secret/")
	qt.Assert(t, qt.IsNil(err))
	return h, dir
}

func ask(h http.Handler, method, url string, change ...func(*http.Request)) (int, string) {
	r := httptest.NewRequest(method, url, nil)
	r.Host = "127.0.0.1:8888"
	for _, f := range change {
		f(r)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

// TestServedAlone: the page and the rows are all that is to be had, and only by who is
// here and knows the way.
func TestServedAlone(t *testing.T) {
	h, _ := handler(t, 200)
	host := func(name string) func(*http.Request) { return func(r *http.Request) { r.Host = name } }
	for _, c := range []struct {
		method, url string
		change      func(*http.Request)
		code        int
	}{
		{"GET", "/secret/", host("127.0.0.1:8888"), 200},
		{"HEAD", "/secret/", host("localhost:8888"), 200},
		{"GET", "/secret/", host("[::1]:8888"), 200},
		{"GET", "/secret/", host("127.8.8.8"), 200},
		{"GET", "/secret/", host("attacker.example:8888"), 403},
		{"GET", "/secret/", host("127.0.0.1.attacker.example"), 403},
		{"GET", "/secret/", host("192.168.1.7:8888"), 403},
		{"GET", "/secret/", host(""), 403},
		{"GET", "/secret/", func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }, 403},
		{"GET", "/secret/", func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "none") }, 200},
		{"POST", "/secret/", host("localhost"), 405},
		{"GET", "/", host("localhost"), 404},
		{"GET", "/guessed/", host("localhost"), 404},
		{"GET", "/secret/metadata.json", host("localhost"), 404},
		{"GET", "/secret/../metadata.json", host("localhost"), 307}, // to a clean path, which is not there
		{"GET", "/secret/%2e%2e/metadata.json", host("localhost"), 404},
		{"GET", "/secret/rows/..%2f..%2fmetadata.json?from=0&to=1", host("localhost"), 404},
		{"GET", "/secret/rows/metadata.json?from=0&to=1", host("localhost"), 404},
		{"GET", "/secret/rows/nothing.csv?from=0&to=1", host("localhost"), 404},
		{"GET", "/secret/rows/steps.csv", host("localhost"), 400},
		{"GET", "/secret/rows/steps.csv?from=5&to=5", host("localhost"), 400},
		{"GET", "/secret/rows/steps.csv?from=-9223372036854775808&to=9223372036854775807", host("localhost"), 400},
		{"GET", "/secret/steps?engine=x&from=0&to=1", host("localhost"), 400},
		{"GET", "/secret/steps?engine=0&from=a&to=1", host("localhost"), 400},
		{"GET", "/secret/steps?engine=7&from=0&to=1000", host("localhost"), 200},
	} {
		code, _ := ask(h, c.method, c.url, c.change)
		qt.Check(t, qt.Equals(code, c.code), qt.Commentf("%s %s", c.method, c.url))
	}
}

// TestServedSteps: of any stretch one gets its steps, or where they are many buckets with
// the same sums.
func TestServedSteps(t *testing.T) {
	h, dir := handler(t, 8000)
	for _, c := range []struct{ from, to int64 }{{1.5e9, 2e9}, {5_100_000_000, 5_100_900_000}, {1e9, 60e9}, {90e9, 91e9}} {
		code, body := ask(h, "GET", fmt.Sprintf("/secret/steps?engine=1&from=%d&to=%d", c.from, c.to))
		qt.Assert(t, qt.Equals(code, 200))
		var got struct {
			Window *struct {
				Start   []int64             `json:"start_ns"`
				Columns map[string][]*int64 `json:"columns"`
			}
			Timeline struct {
				Columns map[string][]*int64 `json:"columns"`
			}
		}
		qt.Assert(t, qt.IsNil(json.Unmarshal([]byte(body), &got)))
		var starts []int64
		var tokens, busy, evicted int64
		for r, err := range session.Rows[record.StepRow](dir) {
			qt.Assert(t, qt.IsNil(err))
			if r.Engine != 1 || r.StartNS >= c.to {
				continue
			}
			if r.StartNS >= c.from {
				starts = append(starts, r.StartNS)
				tokens += int64(*r.OutputTokens)
			}
			busy += max(0, *r.GPUEndNS-max(*r.GPUStartNS, c.from))
		}
		for r, err := range session.Rows[record.KVEvictionRow](dir) {
			qt.Assert(t, qt.IsNil(err))
			if r.Engine == 1 && r.HadHash && r.TimeNS >= c.from && r.TimeNS < c.to {
				evicted++
			}
		}
		var arrived, finished int64
		within := func(ns *int64) bool { return ns != nil && *ns >= c.from && *ns < c.to }
		for r, err := range session.Rows[record.RequestRow](dir) {
			qt.Assert(t, qt.IsNil(err))
			if r.Engine == 1 && within(r.ArrivalNS) {
				arrived++
			}
			if r.Engine == 1 && within(r.FinishedNS) {
				finished++
			}
		}
		at := qt.Commentf("%+v: %d steps", c, len(starts))
		sum := func(list []*int64) (n int64) {
			for _, v := range list {
				n += *v
			}
			return n
		}
		qt.Check(t, qt.Equals(sum(got.Timeline.Columns["output"]), tokens), at)
		qt.Check(t, qt.Equals(sum(got.Timeline.Columns["busy"]), busy), at)
		qt.Check(t, qt.Equals(sum(got.Timeline.Columns["evicted"]), evicted), at)
		qt.Check(t, qt.Equals(sum(got.Timeline.Columns["arrived"]), arrived), at)
		qt.Check(t, qt.Equals(sum(got.Timeline.Columns["finished"]), finished), at)
		qt.Assert(t, qt.Equals(got.Window == nil, len(starts) > mostServed), at)
		if got.Window != nil {
			qt.Check(t, qt.HasLen(got.Window.Start, len(starts)), at)
			start := int64(0)
			for i, d := range got.Window.Start {
				start += d
				qt.Assert(t, qt.Equals(start, starts[i]))
			}
			qt.Check(t, qt.Equals(sum(got.Window.Columns["output"]), tokens), at)
		}
	}
}

// TestServedRows: rows come as they stand in the table, or not at all.
func TestServedRows(t *testing.T) {
	h, dir := handler(t, 4000)
	for _, table := range tableNames() {
		code, body := ask(h, "GET", "/secret/rows/"+table+".csv?from=2000000000&to=2100000000")
		qt.Assert(t, qt.Equals(code, 200), qt.Commentf("%s: %s", table, body))
		rows, err := csv.NewReader(strings.NewReader(body)).ReadAll()
		qt.Assert(t, qt.IsNil(err))
		qt.Check(t, qt.IsTrue(len(rows) > 0 && len(rows[0]) > 3), qt.Commentf("%s", table))
	}
	_, body := ask(h, "GET", "/secret/rows/steps.csv?from=2000000000&to=2100000000")
	rows, err := csv.NewReader(strings.NewReader(body)).ReadAll()
	qt.Assert(t, qt.IsNil(err))
	column := map[string]int{}
	for i, name := range rows[0] {
		column[name] = i
	}
	in := map[int64]bool{}
	n, requests := 0, 0
	for r, err := range session.Rows[record.StepRow](dir) {
		qt.Assert(t, qt.IsNil(err))
		if r.StartNS < 2e9 || r.StartNS >= 21e8 {
			continue
		}
		n++
		in[int64(r.Engine)<<40|r.StepID] = true
		requests += int(r.Requests)
		cells := rows[n]
		qt.Check(t, qt.Equals(cells[column["start_ns"]], strconv.FormatInt(r.StartNS, 10)))
		qt.Check(t, qt.Equals(cells[column["phase"]], r.Phase))
		qt.Check(t, qt.Equals(cells[column["step_gpu_ns"]], strconv.FormatInt(*r.StepGPUNS, 10)))
		qt.Check(t, qt.Equals(cells[column["forward_ns"]], "")) // not known
	}
	qt.Check(t, qt.Equals(len(rows)-1, n))
	_, body = ask(h, "GET", "/secret/rows/step_requests.csv?from=2000000000&to=2100000000")
	rows, err = csv.NewReader(strings.NewReader(body)).ReadAll()
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(len(rows)-1, requests))
	for _, cells := range rows[1:] {
		engine, _ := strconv.ParseInt(cells[0], 10, 32)
		step, _ := strconv.ParseInt(cells[1], 10, 64)
		qt.Assert(t, qt.IsTrue(in[engine<<40|step]))
	}
	code, body := ask(h, "GET", "/secret/rows/step_requests.csv?from=0&to=900000000000")
	qt.Check(t, qt.Equals(code, http.StatusRequestEntityTooLarge))
	qt.Check(t, qt.StringContains(body, "there are more than 100000 rows in this stretch: zoom in"))
}
