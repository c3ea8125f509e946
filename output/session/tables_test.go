package session

import (
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/go-quicktest/qt"
	"github.com/google/go-cmp/cmp"
	"github.com/parquet-go/parquet-go"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/internal/traffic"
)

var update = flag.Bool("update", false, "write the golden files anew")

// fill makes a row in which every column differs from its neighbours; every
// third row has nulls where there may be some.
func fill[T any](n int) *T {
	row := new(T)
	v := reflect.ValueOf(row).Elem()
	for i := range v.NumField() {
		field := v.Field(i)
		if field.Kind() == reflect.Pointer {
			if n%3 == 2 {
				continue
			}
			field.Set(reflect.New(field.Type().Elem()))
			field = field.Elem()
		}
		x := int64(n*100 + i)
		switch field.Kind() {
		case reflect.String:
			field.SetString(fmt.Sprintf("text %d é", x))
		case reflect.Bool:
			field.SetBool(x%2 == 0)
		case reflect.Float32, reflect.Float64:
			field.SetFloat(float64(x) + 0.5)
		case reflect.Int64:
			field.SetInt(-(x << 33))
		case reflect.Uint64:
			field.SetUint(^uint64(x)) // over the largest int64
		default:
			field.SetInt(x)
		}
	}
	return row
}

const filled = 1000 // more than a batch

func fillAll(t testing.TB, tables *Tables) {
	for n := range filled {
		qt.Assert(t, qt.IsNil(errors.Join(
			tables.Process(fill[record.ProcessRow](n)), tables.Step(fill[record.StepRow](n)),
			tables.StepRequest(fill[record.StepRequestRow](n)), tables.Request(fill[record.RequestRow](n)),
			tables.Preemption(fill[record.PreemptionRow](n)), tables.KVUsage(fill[record.KVUsageRow](n)),
			tables.KVBlock(fill[record.KVBlockRow](n)), tables.KVEviction(fill[record.KVEvictionRow](n)),
			tables.CPUOperation(fill[record.CPUOperationRow](n)), tables.Graph(fill[record.GraphRow](n)),
			tables.GraphLaunch(fill[record.GraphLaunchRow](n)), tables.EncoderDecoder(fill[record.EncoderDecoderRow](n)),
			tables.Launch(fill[record.LaunchRow](n)), tables.Copy(fill[record.CopyRow](n)),
			tables.Collective(fill[record.CollectiveRow](n)), tables.GPUSample(fill[record.GPUSampleRow](n)),
			tables.GPUCounter(fill[record.GPUCounterRow](n)), tables.Kernel(fill[record.KernelRow](n)),
			tables.KernelWindow(fill[record.KernelWindowRow](n)), tables.KernelClass(fill[record.KernelClassRow](n)), tables.MoEActivation(fill[record.MoEActivationRow](n)),
			tables.MoECoselection(fill[record.MoECoselectionRow](n)),
			tables.MoEWeight(fill[record.MoEWeightRow](n)),
			tables.MoEImbalance(fill[record.MoEImbalanceRow](n)),
			tables.Loss(fill[record.LossRow](n)), tables.Hook(fill[record.HookRow](n)))))
	}
}

func check[T any](t *testing.T, d *Dir) {
	n := 0
	for row, err := range Rows[T](d) {
		qt.Assert(t, qt.IsNil(err))
		if diff := cmp.Diff(row, fill[T](n)); diff != "" {
			t.Fatalf("%s row %d: %s", tableOf[T](), n, diff)
		}
		n++
	}
	qt.Check(t, qt.Equals(n, filled))
}

func TestRowsComeBack(t *testing.T) {
	d, _ := traced(t, traffic.Decode32, 0, func(tables *Tables) { fillAll(t, tables) })
	check[record.ProcessRow](t, d)
	check[record.StepRow](t, d)
	check[record.StepRequestRow](t, d)
	check[record.RequestRow](t, d)
	check[record.PreemptionRow](t, d)
	check[record.KVUsageRow](t, d)
	check[record.KVBlockRow](t, d)
	check[record.KVEvictionRow](t, d)
	check[record.CPUOperationRow](t, d)
	check[record.GraphRow](t, d)
	check[record.GraphLaunchRow](t, d)
	check[record.EncoderDecoderRow](t, d)
	check[record.LaunchRow](t, d)
	check[record.CopyRow](t, d)
	check[record.CollectiveRow](t, d)
	check[record.GPUSampleRow](t, d)
	check[record.GPUCounterRow](t, d)
	check[record.KernelRow](t, d)
	check[record.KernelWindowRow](t, d)
	check[record.MoEActivationRow](t, d)
	check[record.MoECoselectionRow](t, d)
	check[record.MoEWeightRow](t, d)
	check[record.MoEImbalanceRow](t, d)
	check[record.LossRow](t, d)
	check[record.HookRow](t, d)
	for range Rows[record.StepRow](d) {
		break // an iteration may end early
	}
}

// The golden file holds the schema of every table: names, types, nulls,
// encodings. A column may be added, and nothing else may change.
func TestSchemas(t *testing.T) {
	d, _ := traced(t, traffic.Decode32, 0, nil)
	var got strings.Builder
	parts, err := fs.Glob(d.FS(), "parquet/*/part-*.parquet")
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.HasLen(parts, 26))
	for _, part := range parts {
		f, err := d.root.Open(part)
		qt.Assert(t, qt.IsNil(err))
		info, err := f.Stat()
		qt.Assert(t, qt.IsNil(err))
		file, err := parquet.OpenFile(f, info.Size())
		qt.Assert(t, qt.IsNil(err))
		qt.Check(t, qt.Equals(file.NumRows(), 0))
		fmt.Fprintln(&got, strings.Replace(file.Schema().String(), "message", filepath.Base(filepath.Dir(part))+":", 1))
		for key, want := range map[string]string{"schema_version": "1", "session_id": d.Name(), "session_start": "2023-11-14T22:13:20.123456789Z"} {
			value, _ := file.Lookup(key)
			qt.Check(t, qt.Equals(value, want), qt.Commentf("%s in %s", key, part))
		}
		f.Close()
	}
	golden := "testdata/schemas.golden"
	if *update {
		qt.Assert(t, qt.IsNil(os.WriteFile(golden, []byte(got.String()), 0o644)))
	}
	want, err := os.ReadFile(golden)
	qt.Assert(t, qt.IsNil(err))
	if diff := cmp.Diff(got.String(), string(want)); diff != "" {
		t.Error("go test -run TestSchemas -update, if this is meant: ", diff)
	}
}

func TestSameRowsSameBytes(t *testing.T) {
	sum := func() string {
		h := sha256.New()
		d, _ := traced(t, traffic.Chat32, 500, func(tables *Tables) { fillAll(t, tables) })
		qt.Assert(t, qt.IsNil(fs.WalkDir(d.FS(), "parquet", func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			b, err := fs.ReadFile(d.FS(), path)
			fmt.Fprintln(h, path, len(b))
			h.Write(b)
			return err
		})))
		return fmt.Sprintf("%x", h.Sum(nil))
	}
	qt.Check(t, qt.Equals(sum(), sum()))
}

func TestPartsAreCutByRows(t *testing.T) {
	d := newSession(t)
	tables, err := CreateTables(d, About{})
	qt.Assert(t, qt.IsNil(err))
	tables.losses.partRows = 2 * batchRows
	const n = 5*batchRows + 7
	for i := range n {
		qt.Assert(t, qt.IsNil(tables.Loss(&record.LossRow{Count: int64(i)})))
	}
	// Whole parts are there while it goes on, what is written is hidden.
	visible, err := fs.Glob(d.FS(), "parquet/losses/*.parquet")
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.DeepEquals(visible, []string{"parquet/losses/part-00000.parquet", "parquet/losses/part-00001.parquet"}))
	qt.Assert(t, qt.IsNil(tables.Close()))
	entries, err := fs.ReadDir(d.FS(), "parquet/losses")
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.HasLen(entries, 3))
	next := int64(0)
	for row, err := range Rows[record.LossRow](d) {
		qt.Assert(t, qt.IsNil(err))
		qt.Assert(t, qt.Equals(row.Count, next))
		next++
	}
	qt.Check(t, qt.Equals(next, n))
	qt.Assert(t, qt.IsNil(RemoveTables(d)))
	for range Rows[record.LossRow](d) {
		t.Fatal("a row of a table that is gone")
	}
}

// Cut completes what there is, and nothing where there is nothing.
func TestCut(t *testing.T) {
	d := newSession(t)
	tables, err := CreateTables(d, About{SessionID: "s", Start: "2026-01-02T03:04:05Z"})
	qt.Assert(t, qt.IsNil(err))
	n := 0
	for _, rows := range []int{3, 0, batchRows, 2*batchRows + 1, 0} {
		for range rows {
			qt.Assert(t, qt.IsNil(tables.Loss(&record.LossRow{Count: int64(n)})))
			n++
		}
		qt.Assert(t, qt.IsNil(tables.Cut()))
	}
	parts, err := Parts(d, func(path string) bool { return path == "parquet/losses/part-00001.parquet" })
	qt.Assert(t, qt.IsNil(err))
	about := About{SessionID: "s", Start: "2026-01-02T03:04:05Z"}
	qt.Check(t, qt.DeepEquals(parts, []Part{
		{Table: TableLosses, Path: "parquet/losses/part-00000.parquet", Rows: 3, About: about},
		{Table: TableLosses, Path: "parquet/losses/part-00002.parquet", Rows: 2*batchRows + 1, About: about},
	}))
	qt.Assert(t, qt.IsNil(tables.Close()))
	// Now the others have a part without rows, and this one no further.
	parts, err = Parts(d, func(string) bool { return false })
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.HasLen(parts, len(viewed)-1+3))
	next := int64(0)
	for row, err := range Rows[record.LossRow](d) {
		qt.Assert(t, qt.IsNil(err))
		qt.Assert(t, qt.Equals(row.Count, next))
		next++
	}
	qt.Check(t, qt.Equals(next, int64(n)))
}

func TestRowsOfOlderAndNewerTables(t *testing.T) {
	type otherLoss struct {
		FromNS int64  `parquet:"from_ns"`
		Extra  string `parquet:"extra"`
		Probe  string `parquet:"probe,dict"`
		Count  int64  `parquet:"count"`
	}
	d := newSession(t)
	p, err := d.Sub("parquet")
	qt.Assert(t, qt.IsNil(err))
	l, err := p.Sub("losses")
	qt.Assert(t, qt.IsNil(err))
	f, err := l.Create(partName(0))
	qt.Assert(t, qt.IsNil(err))
	w := parquet.NewGenericWriter[otherLoss](f)
	_, err = w.Write([]otherLoss{{1, "x", "probe", 5}})
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.IsNil(errors.Join(w.Close(), f.Close(), p.Close(), l.Close())))
	for row, err := range Rows[record.LossRow](d) {
		qt.Assert(t, qt.IsNil(err))
		qt.Check(t, qt.DeepEquals(*row, record.LossRow{FromNS: 1, Probe: "probe", Count: 5}))
	}
}

func TestTablesMadeAgain(t *testing.T) {
	d, facts := traced(t, traffic.Decode32, 10, nil)
	count := func() (n int) {
		for _, err := range Rows[record.StepRow](d) {
			qt.Assert(t, qt.IsNil(err))
			n++
		}
		return n
	}
	for want := 20; want < 40; want += 10 {
		before := count()
		tables, err := RemakeTables(d, facts.About())
		qt.Assert(t, qt.IsNil(err))
		s := traffic.New(traffic.Decode32)
		s.Rows = tables
		for range want {
			_, err := s.Step()
			qt.Assert(t, qt.IsNil(err))
		}
		qt.Check(t, qt.Equals(count(), before))
		qt.Assert(t, qt.IsNil(tables.Close()))
		qt.Check(t, qt.Equals(count(), want))
	}
	tables, err := RemakeTables(d, facts.About())
	qt.Assert(t, qt.IsNil(err))
	full := errors.New("disk full")
	tables.losses.failed.Store(&full)
	qt.Check(t, qt.ErrorMatches(tables.Close(), "disk full"))
	qt.Check(t, qt.Equals(count(), 30))
	entries, err := fs.ReadDir(d.FS(), ".")
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.HasLen(entries, 1))
	sub, err := d.OpenSub("parquet")
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.IsNil(sub.Close()))
	_, err = d.OpenSub("none")
	qt.Check(t, qt.ErrorIs(err, fs.ErrNotExist))
}

func TestDamagedPart(t *testing.T) {
	d, _ := traced(t, traffic.Decode32, 100, nil)
	path := filepath.Join(d.Path(), "parquet/steps/part-00000.parquet")
	b, err := os.ReadFile(path)
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.IsNil(os.WriteFile(path, b[:len(b)/2], 0o600)))
	n := 0
	for _, err := range Rows[record.StepRow](d) {
		n++
		qt.Check(t, qt.ErrorMatches(err, "parquet/steps/part-00000.parquet: .*"))
	}
	qt.Check(t, qt.Equals(n, 1))
}

// failLosses has the table of losses fail, and gives the error that one of its rows tells.
func failLosses(t *testing.T, tables *Tables) (err error) {
	t.Helper()
	for range batchRows {
		qt.Assert(t, qt.IsNil(tables.Loss(fill[record.LossRow](1))))
	}
	tables.losses.written.Wait()
	qt.Assert(t, qt.IsNil(tables.losses.file.Close())) // as good as a full disk
	tables.losses.partRows = 2 * batchRows
	for err == nil {
		err = tables.Loss(fill[record.LossRow](1))
	}
	qt.Check(t, qt.ErrorMatches(err, "table losses: .*"))
	return err
}

func TestFailedTableStaysFailedAndTheOthersGoOn(t *testing.T) {
	d := newSession(t)
	tables, err := CreateTables(d, About{})
	qt.Assert(t, qt.IsNil(err))
	err = failLosses(t, tables)
	for range 10 * batchRows {
		qt.Assert(t, qt.Equals(tables.Loss(fill[record.LossRow](1)), err))
		qt.Assert(t, qt.IsNil(tables.Step(fill[record.StepRow](1))))
	}
	qt.Check(t, qt.IsTrue(len(tables.losses.batch) <= batchRows))
	qt.Check(t, qt.ErrorIs(tables.Close(), err))
	left, err := fs.ReadDir(d.FS(), "parquet/losses")
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.HasLen(left, 0))
	n := 0
	for _, err := range Rows[record.StepRow](d) {
		qt.Assert(t, qt.IsNil(err))
		n++
	}
	qt.Check(t, qt.Equals(n, 10*batchRows))
}

// step_requests takes less than half a byte a row in steady decode and 1.5 when
// requests come and go; all tables together 3 and 5 bytes by request and step.
func TestSize(t *testing.T) {
	for _, c := range []struct {
		shape     traffic.Shape
		row, most float64
	}{{traffic.Decode32, 0.5, 3}, {traffic.Chat32, 1.5, 5}} {
		const steps = 10000
		d, _ := traced(t, c.shape, steps, nil)
		total := int64(0)
		for _, size := range sizes(t, d) {
			total += size
		}
		n := float64(steps * c.shape.Requests)
		row, all := float64(sizes(t, d)[TableStepRequests])/n, float64(total)/n
		t.Logf("%.2f bytes a row of step_requests, %.2f of all tables", row, all)
		qt.Check(t, qt.IsTrue(row < c.row))
		qt.Check(t, qt.IsTrue(all < c.most))
	}
}

// Most tables never have a row: then they take no memory.
func TestTablesWithoutRowsAreSmall(t *testing.T) {
	d := newSession(t)
	tables, err := CreateTables(d, About{})
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.IsNil(tables.Graph(&record.GraphRow{})))
	qt.Check(t, qt.IsNil(tables.gpuCounters.batch))
	qt.Check(t, qt.IsNil(tables.gpuCounters.writer))
	qt.Check(t, qt.IsTrue(cap(tables.graphs.batch) < batchRows))
	qt.Assert(t, qt.IsNil(tables.Close()))
}

// What is in memory does not grow with the length of a run.
func TestMemoryIsFlat(t *testing.T) {
	d := newSession(t)
	tables, err := CreateTables(d, About{})
	qt.Assert(t, qt.IsNil(err))
	s := traffic.New(traffic.Chat32)
	s.Rows = tables
	live := func(steps int) int64 {
		for range steps {
			_, err := s.Step()
			qt.Assert(t, qt.IsNil(err))
		}
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	early, late := live(15000), live(25000)
	t.Logf("%.1f MB after 0.5 M rows, %.1f MB after 1.3 M", float64(early)/1e6, float64(late)/1e6)
	qt.Check(t, qt.IsTrue(late < 20e6))
	qt.Check(t, qt.IsTrue(late-early < 5e6))
	qt.Assert(t, qt.IsNil(tables.Close()))
}

// analysisPython is the Python with the other readers.
func analysisPython(t *testing.T) string {
	cache := os.Getenv("PMTRACE_CACHE")
	if cache == "" {
		home, err := os.UserHomeDir()
		qt.Assert(t, qt.IsNil(err))
		cache = filepath.Join(home, ".cache", "pmtrace")
	}
	python := filepath.Join(cache, "analysis", "bin", "python")
	if _, err := os.Stat(python); err != nil {
		if os.Getenv("PMTRACE_TEST_SKIP_ANALYSIS") != "" {
			t.Skip("no " + python)
		}
		t.Fatalf("no %s: run e2e/setup/analysis.sh, or set PMTRACE_TEST_SKIP_ANALYSIS", python)
	}
	return python
}

// DuckDB, pandas and pyarrow load every table, with the right types and values.
func TestOtherReaders(t *testing.T) {
	python := analysisPython(t)
	for name, more := range map[string]func(*Tables){
		"filled": func(tables *Tables) { fillAll(t, tables) },
		"empty":  nil,
	} {
		t.Run(name, func(t *testing.T) {
			d, _ := traced(t, traffic.Decode32, 0, more)
			rows := map[string]string{"filled": fmt.Sprint(filled), "empty": "0"}[name]
			out, err := exec.Command(python, "testdata/readers.py", d.Path(), rows, "testdata/schemas.golden").CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			t.Logf("%s", out)
		})
	}
}

// Tables that are written beside the caller have the same bytes.
func TestConcurrently(t *testing.T) {
	made := func(concurrently bool) map[string][32]byte {
		d := newSession(t)
		tables, err := CreateTables(d, About{SessionID: "s"})
		qt.Assert(t, qt.IsNil(err))
		if concurrently {
			qt.Assert(t, qt.IsNil(tables.Concurrently(3)))
		}
		fillAll(t, tables)
		s := traffic.New(traffic.Chat32)
		s.Rows = tables
		for n := range 2000 {
			_, err := s.Step()
			qt.Assert(t, qt.IsNil(err))
			if n%700 == 699 {
				qt.Assert(t, qt.IsNil(tables.Cut()))
			}
		}
		qt.Assert(t, qt.IsNil(tables.Close()))
		sums := map[string][32]byte{}
		qt.Assert(t, qt.IsNil(fs.WalkDir(d.FS(), "parquet", func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			b, err := fs.ReadFile(d.FS(), path)
			sums[path] = sha256.Sum256(b)
			return err
		})))
		return sums
	}
	want := made(false)
	qt.Check(t, qt.IsTrue(len(want) > 30))
	qt.Check(t, qt.DeepEquals(made(true), want))
}

// One that fails tells later, and holds up no other.
func TestConcurrentlyFailed(t *testing.T) {
	d := newSession(t)
	tables, err := CreateTables(d, About{})
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.IsNil(tables.Concurrently(2)))
	failLosses(t, tables)
	for range 20 * batchRows {
		qt.Assert(t, qt.IsNil(tables.Step(fill[record.StepRow](1))))
	}
	qt.Check(t, qt.ErrorMatches(tables.Cut(), "table losses: .*"))
	qt.Check(t, qt.ErrorMatches(tables.Close(), "table losses: .*"))
	n := 0
	for _, err := range Rows[record.StepRow](d) {
		qt.Assert(t, qt.IsNil(err))
		n++
	}
	qt.Check(t, qt.Equals(n, 20*batchRows))
}
