package main

import (
	"encoding/json"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-quicktest/qt"
	"github.com/google/go-cmp/cmp"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/session"
)

var updateDiff = flag.Bool("update-diff", false, "write the golden file of diff anew")

// differing decodes recorded sessions into a directory of their names.
func differing(t *testing.T, names ...string) string {
	t.Helper()
	place := t.TempDir()
	for _, name := range names {
		path := filepath.Join(place, name)
		qt.Assert(t, qt.IsNil(os.CopyFS(path, os.DirFS(filepath.Join("testdata", "recorded", name)))))
		var stderr strings.Builder
		code := run(t.Context(), []string{"decode", path, "--no-csv"}, nil, io.Discard, &stderr, nil)
		qt.Assert(t, qt.Equals(code, 0), qt.Commentf("%s", stderr.String()))
	}
	return place
}

func runDiff(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs strings.Builder
	code = run(t.Context(), append([]string{"diff"}, args...), nil, &out, &errs, nil)
	return code, out.String(), errs.String()
}

// A server half as fast fails the gates that allow less.
func TestDiffGolden(t *testing.T) {
	place := differing(t, "h200-pressure")
	a := filepath.Join(place, "h200-pressure")
	b := halfAsFast(t, a, place)
	code, stdout, stderr := runDiff(t, a, b,
		"--fail-on", "step_decode_p50>+3%", "--fail-on", "tokens_per_s<-3%", "--fail-on", "tokens_per_s<-60%")
	qt.Check(t, qt.Equals(code, exitChanged))
	got := strings.ReplaceAll(stdout+stderr, place, "…")
	const path = "testdata/diff.golden"
	if *updateDiff {
		qt.Assert(t, qt.IsNil(os.WriteFile(path, []byte(got), 0o644)))
	}
	want, err := os.ReadFile(path)
	qt.Assert(t, qt.IsNil(err))
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Error("go test -run TestDiffGolden -update-diff, if this is meant: ", diff)
	}
}

func TestDiffGates(t *testing.T) {
	place := differing(t, "h200-midload", "h200-pressure", "h200-record")
	a, b, c := filepath.Join(place, "h200-midload"), filepath.Join(place, "h200-pressure"), filepath.Join(place, "h200-record")

	// What no side knows passes unless --strict is given.
	code, _, stderr := runDiff(t, a, b, "--fail-on", "mbu<-3%")
	qt.Check(t, qt.Equals(code, 0))
	qt.Check(t, qt.Equals(stderr, "pmtrace: --fail-on mbu<-3% passes: a side has no data\n"))
	code, _, stderr = runDiff(t, a, b, "--fail-on", "mbu<-3%", "--strict")
	qt.Check(t, qt.Equals(code, exitChanged))
	qt.Check(t, qt.Equals(stderr, "pmtrace: --fail-on mbu<-3% fails: a side has no data\n"))

	// Two runs against one show nothing.
	code, stdout, stderr := runDiff(t, a, b, "--", c, "--fail-on", "tpot_p50>3%")
	qt.Check(t, qt.Equals(code, exitUsage))
	qt.Check(t, qt.StringContains(stderr, "behind the -- are sessions alone: put --fail-on before it"))
	qt.Check(t, qt.Equals(stdout, ""))
	code, stdout, stderr = runDiff(t, "--json", "--fail-on", "tpot_p50>3%", "--fail-on", "tokens_per_s<-3%", a, b, "--", c)
	qt.Check(t, qt.Equals(code, 0))
	qt.Check(t, qt.Equals(strings.Count(stderr, "but there is too little to tell by\n"), 2), qt.Commentf("%s", stderr))
	var r struct {
		Unit    string
		A, B    []string
		Notes   []string
		Metrics []struct {
			Metric, Unit, Better string
			P                    *float64
		}
		Gates []struct {
			Gate          string
			Fails, NoData bool
		}
	}
	qt.Assert(t, qt.IsNil(json.Unmarshal([]byte(stdout), &r)))
	qt.Check(t, qt.Equals(r.Unit, "run"))
	qt.Check(t, qt.DeepEquals(r.A, []string{a, b}))
	qt.Check(t, qt.DeepEquals(r.B, []string{c}))
	qt.Check(t, qt.StringContains(strings.Join(r.Notes, "\n"), "nothing can be shown with 2 and 1 runs"))
	qt.Check(t, qt.IsTrue(len(r.Metrics) > 15))
	qt.Check(t, qt.HasLen(r.Gates, 2))
}

// halfAsFast makes a session of another's steps, each twice as long.
func halfAsFast(t *testing.T, path, place string) string {
	t.Helper()
	from, err := session.Open(path)
	qt.Assert(t, qt.IsNil(err))
	defer from.Close()
	to, err := session.Create(place, time.Unix(0, 0).UTC(), session.Owner{UID: os.Geteuid(), GID: os.Getegid()})
	qt.Assert(t, qt.IsNil(err))
	defer to.Close()
	tables, err := session.CreateTables(to, session.About{})
	qt.Assert(t, qt.IsNil(err))
	for s, err := range session.Rows[record.StepRow](from) {
		qt.Assert(t, qt.IsNil(err))
		s.StartNS, s.ScheduledNS = 2*s.StartNS, 2*s.ScheduledNS
		if s.EndNS != nil {
			s.EndNS = new(2 * *s.EndNS)
		}
		qt.Assert(t, qt.IsNil(tables.Step(s)))
	}
	qt.Assert(t, qt.IsNil(tables.Close()))
	b, err := os.ReadFile(filepath.Join(path, "metadata.json"))
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.IsNil(os.WriteFile(filepath.Join(to.Path(), "metadata.json"), b, 0o600)))
	return to.Path()
}
