package probes

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/go-quicktest/qt"

	"github.com/pmtrace/pmtrace/bpf"
	"github.com/pmtrace/pmtrace/decode/wire"
)

// Each row of the wire can be probed, has a name, and no function is in two rows.
func TestRows(t *testing.T) {
	seen := map[wire.Row]bool{}
	functions := map[string]bool{}
	for _, r := range Rows() {
		seen[r.Row] = true
		qt.Check(t, qt.Not(qt.Equals(r.Name, "other")), qt.Commentf("%d", r.Row))
		qt.Check(t, qt.IsTrue(r.Set != "" && len(r.Functions) > 0))
		for _, f := range r.Functions {
			for _, n := range f.Names {
				qt.Check(t, qt.IsFalse(functions[n]), qt.Commentf("%s", n))
				functions[n] = true
			}
			for _, p := range []Place{f.A, f.B, f.C} {
				if uint16(p)&15 == uint16(bpf.CudaPmPlacePM_RESULT) {
					qt.Check(t, qt.IsTrue(r.Returns), qt.Commentf("%s", r.Name))
				}
			}
		}
	}
	for r := wire.RowGraphLaunch; r <= wire.RowRecv; r++ {
		qt.Check(t, qt.IsTrue(seen[r]), qt.Commentf("row %d", r))
	}
}

// The numbers in Go are those of the programs.
func TestNumbers(t *testing.T) {
	for _, n := range []struct{ got, want int }{
		{int(bpf.CudaPmRowPM_ROW_GRAPH_LAUNCH), int(wire.RowGraphLaunch)},
		{int(bpf.CudaPmRowPM_ROW_LAUNCH), int(wire.RowLaunch)},
		{int(bpf.CudaPmRowPM_ROW_RECV), int(wire.RowRecv)},
		{int(bpf.CudaPmPhasePM_PHASE_EXECUTE), int(wire.PhaseExecute)},
		{int(bpf.CudaPmPhasePM_PHASE_DUMMY), int(wire.PhaseDummy)},
		{int(bpf.CudaPmKindPM_EV_CALL), int(wire.KindCall)},
		{int(bpf.CudaPmReasonPM_REASONS), int(bpf.SchedulerPmReasonPM_REASONS)},
	} {
		qt.Check(t, qt.Equals(n.got, n.want))
	}
	b, err := os.ReadFile("../bpf/calls.h")
	qt.Assert(t, qt.IsNil(err))
	defined := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^#define (\w+) (\S+)`).FindAllStringSubmatch(string(b), -1) {
		defined[m[1]] = m[2]
	}
	for name, want := range map[string]string{
		"PM_CODE_WEAK": "1", "PM_CODE_DUMMY": "2", "PM_CODE_THROWAWAY": "4", "PM_WORKER_OTHER_PROCESS": "1",
		"PM_COOKIE_RETURNS": "(1ull", "PM_MAX_WORKERS": "64", "PM_GENERATIONS": "32",
	} {
		qt.Check(t, qt.Equals(defined[name], want), qt.Commentf("%s", name))
	}
	qt.Check(t, qt.Equals([...]int{codeWeak, codeDummy, codeThrowaway, MaxWorkers, generations}, [...]int{1, 2, 4, 64, 32}))
}

// Where a real header is at hand, the functions' signatures are as the rows say.
func TestSignatures(t *testing.T) {
	headers := findHeaders(t)
	if headers == "" {
		t.Skip("no CUDA headers on this machine")
	}
	for _, r := range Rows() {
		for _, f := range r.Functions {
			for _, n := range f.Names {
				base := strings.TrimSuffix(n, "_ptsz")
				m := regexp.MustCompile(`(?m)(?:CUDARTAPI|CUDAAPI) ` + base + `\(([^;]*)\);`).FindStringSubmatch(headers)
				if m == nil {
					continue // of an older version, or NCCL's
				}
				args := strings.Split(m[1], ",")
				for which, p := range map[string]Place{"a": f.A, "b": f.B, "c": f.C} {
					checkPlace(t, n, which, p, args)
				}
			}
		}
	}
}

func checkPlace(t *testing.T, function, which string, p Place, args []string) {
	t.Helper()
	kind, n := bpf.CudaPmPlace(p&15), int(p>>4&15)
	if kind == bpf.CudaPmPlacePM_NOWHERE || kind == bpf.CudaPmPlacePM_CONSTANT {
		return
	}
	at := qt.Commentf("%s: %s is argument %d of %q", function, which, n, args)
	qt.Assert(t, qt.IsTrue(n < len(args)), at)
	arg := strings.TrimSpace(args[n])
	pointer := strings.Contains(arg, "*")
	switch kind {
	case bpf.CudaPmPlacePM_RESULT:
		qt.Check(t, qt.IsTrue(pointer), at)
	case bpf.CudaPmPlacePM_ARGUMENT_32:
		qt.Check(t, qt.IsTrue(strings.Contains(arg, "enum ") || strings.Contains(arg, "unsigned int") || strings.Contains(arg, "Mode ")), at)
	case bpf.CudaPmPlacePM_PAIR_32:
		qt.Check(t, qt.IsTrue(strings.Contains(arg, "gridDimX")), at)
	case bpf.CudaPmPlacePM_PRODUCT:
		qt.Check(t, qt.IsTrue(strings.Contains(arg, "width")), at)
	case bpf.CudaPmPlacePM_MEMORY:
		qt.Check(t, qt.IsTrue(strings.Contains(arg, "CUlaunchConfig")), at)
	default:
		qt.Check(t, qt.IsTrue(!strings.Contains(arg, "enum ") && !strings.Contains(arg, "**")), at)
	}
}

// findHeaders gives the text of CUDA's headers, where a wheel or toolkit has them.
func findHeaders(t *testing.T) string {
	t.Helper()
	home, _ := os.UserHomeDir()
	for _, pattern := range []string{
		os.Getenv("CUDA_HOME") + "/include", "/usr/local/cuda/include",
		filepath.Join(home, ".cache/pmtrace/vllm-*/lib/python3*/site-packages/nvidia/cu13/include"),
	} {
		dirs, _ := filepath.Glob(pattern)
		for _, d := range dirs {
			runtime, err := os.ReadFile(filepath.Join(d, "cuda_runtime_api.h"))
			if err != nil {
				continue
			}
			driver, err := os.ReadFile(filepath.Join(d, "cuda.h"))
			qt.Assert(t, qt.IsNil(err))
			return string(runtime) + string(driver)
		}
	}
	return ""
}
