package main

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/go-quicktest/qt"
)

// Figures of real sessions' pages are those of their tables.
func TestReportFigures(t *testing.T) {
	duckdb := python(t, "analysis.sh")
	script, err := filepath.Abs("../../output/page/testdata/figures.py")
	qt.Assert(t, qt.IsNil(err))
	for _, recorded := range []string{pressure, llama8b, "../../e2e/gpu/testdata/h200-qwen3moe-v1", "testdata/recorded/h200-record"} {
		place := decoded(t, recorded)
		said := pmtrace(t, "report", place)
		qt.Check(t, qt.Equals(said, "pmtrace: "+filepath.Join(place, fileReport)+" written; open it in a browser\n"))
		info, err := os.Stat(filepath.Join(place, fileReport))
		qt.Assert(t, qt.IsNil(err))
		qt.Check(t, qt.Equals(info.Mode().Perm(), 0o600))
		var result struct {
			Compared int
			Wrong    []string
		}
		qt.Assert(t, qt.IsNil(json.Unmarshal(output(t, place, duckdb, script, fileReport), &result)))
		qt.Check(t, qt.HasLen(result.Wrong, 0), qt.Commentf("%s", recorded))
		qt.Check(t, qt.IsTrue(result.Compared > 10_000))
	}
}

func TestReportElsewhere(t *testing.T) {
	place := decoded(t, "testdata/recorded/h200-record")
	file := filepath.Join(t.TempDir(), "page.html.gz")
	pmtrace(t, "report", "-o", file, place)
	f, err := os.Open(file)
	qt.Assert(t, qt.IsNil(err))
	defer f.Close()
	packed, err := gzip.NewReader(f)
	qt.Assert(t, qt.IsNil(err))
	page, err := io.ReadAll(packed)
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.IsTrue(strings.HasPrefix(string(page), "<!doctype html>")))
	_, err = os.Stat(filepath.Join(place, fileReport))
	qt.Check(t, qt.ErrorIs(err, os.ErrNotExist))
}

func TestReportRefuses(t *testing.T) {
	place := decoded(t, "testdata/recorded/h200-record")
	bare := t.TempDir()
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"report"}, exitUsage, "report wants one session directory: pmtrace report …/session_…"},
		{[]string{"report", place, place}, exitUsage, "report wants one session directory"},
		{[]string{"report", bare}, exitFailed, "it has no metadata.json; pmtrace decode makes it from the journal"},
		{[]string{"report", "/no/such"}, exitFailed, "cannot open the session: no such file or directory; name a directory that pmtrace made"},
		{[]string{"report", "-o", "/no/such/page.html", place}, exitFailed, "cannot write the report: no such file or directory; choose another file with -o"},
		{[]string{"report", "--serve=0.0.0.0:0", place}, exitUsage, "--serve 0.0.0.0:0: a session is served to this machine alone"},
		{[]string{"report", "--serve", "192.168.1.7:80", place}, exitUsage, "--serve 192.168.1.7:80: a session is served to this machine alone"},
		{[]string{"report", place, "--serve", "example.org:80"}, exitUsage, "--serve example.org:80: a session is served to this machine alone"},
		{[]string{"report", "--serve=127.0.0.1:none", place}, exitUsage, `"none" is no port`},
		{[]string{"report", "--serve", "-o", "x", place}, exitUsage, "-o and --serve exclude each other"},
	} {
		var stderr strings.Builder
		code := run(t.Context(), c.args, nil, io.Discard, &stderr, nil)
		qt.Check(t, qt.Equals(code, c.code), qt.Commentf("%v", c.args))
		qt.Check(t, qt.StringContains(stderr.String(), c.says))
		qt.Check(t, qt.Equals(strings.Count(stderr.String(), "\n"), 1))
	}
}

// What --serve says leads to the page, until it is ended.
func TestReportServe(t *testing.T) {
	place := decoded(t, "testdata/recorded/h200-record")
	for _, args := range [][]string{{"report", "--serve", place}, {"report", "--serve", "127.0.0.1:0", place}, {"report", place, "--serve", "localhost:0"}} {
		ctx, cancel := context.WithCancel(t.Context())
		said, stderr := io.Pipe()
		ended := make(chan int, 1)
		go func() { ended <- run(ctx, args, nil, io.Discard, stderr, nil) }()
		line := make([]byte, 4096)
		n, err := said.Read(line)
		qt.Assert(t, qt.IsNil(err))
		url := regexp.MustCompile(`^pmtrace: (http://127\.0\.0\.1:\d+/[A-Z2-7]{26}/) serves ` + regexp.QuoteMeta(place) + ` to this machine; Ctrl-C ends it\n$`).FindSubmatch(line[:n])
		qt.Assert(t, qt.HasLen(url, 2), qt.Commentf("%s", line[:n]))
		r, err := http.Get(string(url[1]))
		qt.Assert(t, qt.IsNil(err))
		page, err := io.ReadAll(r.Body)
		r.Body.Close()
		qt.Assert(t, qt.IsNil(err))
		qt.Check(t, qt.Equals(r.StatusCode, http.StatusOK))
		qt.Check(t, qt.IsTrue(strings.Contains(string(page), `"served":true`)))
		cancel()
		select {
		case code := <-ended:
			qt.Check(t, qt.Equals(code, exitTraced))
		case <-time.After(10 * time.Second):
			t.Fatal("it does not end")
		}
	}
}
