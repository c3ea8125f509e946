package vllm

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/go-quicktest/qt"
)

var update = flag.Bool("update", false, "write the golden files")

// sourceVersions are those whose functions are in testdata, from real wheels by
// testdata/functions.py.
var sourceVersions = []string{"0.12.0", "0.17.1", "0.26.0", "0.32.0", "0.33.0"}

// TestPhaseTable compares every name of the table with the functions of real
// vLLM versions: which version has which is golden, and a name that none has is
// a mistake.
func TestPhaseTable(t *testing.T) {
	var got strings.Builder
	sources := map[string][]string{}
	for _, v := range sourceVersions {
		sources[v] = sourceFunctions(t, v)
	}
	for _, row := range phaseRows {
		for _, name := range row.names {
			var in []string
			for _, v := range sourceVersions {
				if slices.ContainsFunc(sources[v], func(fn string) bool { return rowHas(row.module, name, fn) }) {
					in = append(in, v)
				}
			}
			fmt.Fprintf(&got, "%d %s:%s %s\n", row.phase, row.module, name, strings.Join(in, " "))
			if !strings.HasPrefix(row.module, "torch.") && !betweenVersions[name] {
				qt.Check(t, qt.Not(qt.HasLen(in, 0)), qt.Commentf("no version has %s:%s", row.module, name))
			}
		}
	}
	golden := filepath.Join("testdata", "phases.txt")
	if *update {
		qt.Assert(t, qt.IsNil(os.WriteFile(golden, []byte(got.String()), 0o644)))
	}
	want, err := os.ReadFile(golden)
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(got.String(), string(want)))
}

// betweenVersions are names that came after one of sourceVersions and went
// before the next.
var betweenVersions = map[string]bool{
	"GPUModelRunner.get_mm_embeddings": true, // 0.15
}

func sourceFunctions(t *testing.T, version string) []string {
	b, err := os.ReadFile(filepath.Join("testdata", "functions-"+version+".txt"))
	qt.Assert(t, qt.IsNil(err))
	return strings.Split(strings.TrimSpace(string(b)), "\n")
}

// rowHas reports whether a function, file:qualname, is one of a row's.
func rowHas(module, name, function string) bool {
	file, qualname, _ := strings.Cut(function, ":")
	in := strings.ReplaceAll(strings.TrimSuffix(strings.TrimSuffix(file, ".py"), "/__init__"), "/", ".")
	if ok, err := path.Match(module, in); err != nil || !ok {
		return false
	}
	if method, anyClass := strings.CutPrefix(name, "*"); anyClass {
		return strings.HasSuffix(qualname, method) && strings.Count(qualname, ".") == 1
	}
	return qualname == name
}

// TestPhaseSources makes the lists of functions again where PMTRACE_VLLM_SOURCES
// has the unpacked wheels, a folder a version.
func TestPhaseSources(t *testing.T) {
	root := os.Getenv("PMTRACE_VLLM_SOURCES")
	if root == "" {
		t.Skip("PMTRACE_VLLM_SOURCES is not set")
	}
	for _, v := range sourceVersions {
		out, err := exec.Command("python3", filepath.Join("testdata", "functions.py"), filepath.Join(root, v)).Output()
		qt.Assert(t, qt.IsNil(err))
		file := filepath.Join("testdata", "functions-"+v+".txt")
		if *update {
			qt.Assert(t, qt.IsNil(os.WriteFile(file, out, 0o644)))
		}
		want, err := os.ReadFile(file)
		qt.Assert(t, qt.IsNil(err))
		qt.Check(t, qt.Equals(string(out), string(want)), qt.Commentf("%s", v))
	}
}
