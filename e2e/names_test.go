//go:build e2e

package e2e

import (
	"bytes"
	"compress/gzip"
	"encoding/csv"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode"
	"unicode/utf8"

	tracespb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/pmtrace/pmtrace/decode/record"
)

// Requests have ids of 10 kB, with quotes, newlines, tags and what is not ASCII: they are in
// Parquet as they were, and in no output are they more than a value.
func TestHostileNames(t *testing.T) {
	b := shapeBench(t)
	s := b.counted(t, "3.12", "--ids", "hostile", "--steps", "600", "--requests", "400", "--output", "8")
	sent := collectSpans(t)
	tr := s.attach(t, "--prometheus", "127.0.0.1:0", "--otlp", sent.url)
	s.run(t)
	page := tr.scrape(t)
	tr.stop(t, 0)
	tr.decodesTheSame(t)
	truth := s.shapeSteps(t)
	truth.whole(t, tr.session(t), 0)
	ids := requestIDs(t, tr.session(t))
	if len(ids) < 20 || !slices.ContainsFunc(ids, func(id string) bool { return strings.Contains(id, "</script>") }) {
		t.Fatalf("these are no hostile ids: %q", ids)
	}
	for _, id := range ids {
		if !utf8.ValidString(id) {
			t.Errorf("not UTF-8: %q", id)
		}
	}
	sent.are(t, ids)
	if strings.Contains(page, "forged") {
		t.Errorf("/metrics has %s", page)
	}
	csvFilesAreWhole(t, tr.session(t))
	htmlIsWhole(t, b, tr.session(t))
	// What a terminal shows has no control characters.
	for _, arguments := range [][]string{{"request", tr.session(t)}, {"request", tr.session(t), ids[0]}, {"summary", tr.session(t)}, {"top", tr.session(t), "--window", "1h"}} {
		out, err := exec.Command(b.pmtrace, arguments...).CombinedOutput()
		if err != nil && arguments[0] != "request" {
			t.Errorf("%q: %v\n%s", arguments, err, out)
		}
		if i := strings.IndexFunc(string(out), func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }); i >= 0 {
			t.Errorf("%q shows %q", arguments[0], out[max(0, i-20):min(len(out), i+20)])
		}
	}
}

// scrape reads the metrics of a tracer that runs.
func (tr *tracer) scrape(t *testing.T) string {
	t.Helper()
	_, url, ok := strings.Cut(tr.stderr.String(), "metrics at ")
	if !ok {
		t.Fatalf("no address: %s", tr.stderr.String())
	}
	url = strings.Fields(url)[0]
	if m := metrics(t, url); len(m) < 20 { // it parses
		t.Errorf("%d metrics", len(m))
	}
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// requestIDs are those that clients gave requests that have finished: without vLLM's suffix.
func requestIDs(t *testing.T, path string) []string {
	t.Helper()
	all := map[string]bool{}
	collect(t, openSession(t, path), func(r *record.RequestRow) {
		if r.Reason != nil {
			all[r.ExternalID] = true
		}
	})
	return slices.Sorted(maps.Keys(all))
}

// spans are what an endpoint of OTLP was sent.
type spans struct {
	url string
	mu  sync.Mutex
	ids map[string]bool
	bad []error
}

func collectSpans(t *testing.T) *spans {
	t.Helper()
	s := &spans{ids: map[string]bool{}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		in := io.Reader(r.Body)
		if r.Header.Get("Content-Encoding") == "gzip" {
			unzipped, err := gzip.NewReader(r.Body)
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			in = unzipped
		}
		body, err := io.ReadAll(in)
		if !strings.HasSuffix(r.URL.Path, "/traces") {
			return
		}
		var request tracespb.ExportTraceServiceRequest
		if err == nil {
			err = proto.Unmarshal(body, &request)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if err != nil {
			s.bad = append(s.bad, err)
		}
		for _, resource := range request.GetResourceSpans() {
			for _, scope := range resource.GetScopeSpans() {
				for _, span := range scope.GetSpans() {
					for _, a := range span.GetAttributes() {
						if a.GetKey() == "gen_ai.request.id" {
							s.ids[a.GetValue().GetStringValue()] = true
						}
					}
				}
			}
		}
	}))
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

// are: each request was sent, with the id that the tables have.
func (s *spans) are(t *testing.T, ids []string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.bad) > 0 {
		t.Errorf("spans that cannot be read: %v", s.bad)
	}
	missing := slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return s.ids[id] })
	if len(missing) > 0 {
		t.Errorf("%d ids are in no span, such as %.80q", len(missing), missing[0])
	}
	t.Logf("%d ids in spans, %d in the tables", len(s.ids), len(ids))
}

// csvFilesAreWhole: each line has the columns of its header, and none is a request's.
func csvFilesAreWhole(t *testing.T, path string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(path, "*.csv"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no CSV files: %v", err)
	}
	named := 0
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		lines, err := csv.NewReader(bytes.NewReader(data)).ReadAll() // fails where a line's columns are not the header's
		if err != nil {
			t.Errorf("%s: %v", filepath.Base(file), err)
		}
		for _, line := range lines {
			for _, field := range line {
				if strings.HasPrefix(field, "forged") {
					t.Errorf("%s: a field is %.80q", filepath.Base(file), field)
				}
				if strings.Contains(field, "forged") {
					named++
				}
			}
		}
	}
	t.Logf("%d CSV files, %d fields with a hostile name", len(files), named)
}

// htmlIsWhole: the page has the ids as text alone.
func htmlIsWhole(t *testing.T, b *bench, path string) {
	t.Helper()
	if out, err := exec.Command(b.pmtrace, "report", path).CombinedOutput(); err != nil {
		t.Fatalf("pmtrace report: %v\n%s", err, out)
	}
	data, err := os.ReadFile(filepath.Join(path, "profile_report.html"))
	if err != nil {
		t.Fatal(err)
	}
	for _, forged := range []string{"<script>forged", "</script><script>", "ID\u2028"} {
		if bytes.Contains(data, []byte(forged)) {
			t.Errorf("the page has %q", forged)
		}
	}
	if n, m := bytes.Count(data, []byte("<script")), bytes.Count(data, []byte("</script>")); n != m {
		t.Errorf("the page has %d <script and %d </script>", n, m)
	}
	if !bytes.Contains(data, []byte("forged")) {
		t.Log("the page names no hostile request: none was among the slowest")
	}
}
