package decode_test

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"testing"
	"time"

	"github.com/go-quicktest/qt"

	"github.com/pmtrace/pmtrace/decode"
	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/e2e/soak/steady"
	"github.com/pmtrace/pmtrace/output/journal"
	"github.com/pmtrace/pmtrace/output/session"
)

const (
	soakPPM     = 20          // of the wall clock's drift
	soakStep    = -2500e6     // by which NTP sets it, half-way
	soakDriftNS = 15_000_000  // between two readings of the wall clock
	soakSecond  = uint64(1e9) // what trace does each second, it does here
)

// TestSoak runs the whole pipeline, as an attached trace does, over days of simulated time:
// journal with rotation, decoding, joining, tables, and at the end the other files. Nothing grows,
// nothing is lost but what the ring has lost, and the totals are the simulation's own.
//
// PMTRACE_SOAK_HOURS=72 is the long run (make soak); here it is a brief one.
func TestSoak(t *testing.T) {
	k := newSoak(t)
	k.run(t)
	k.finish(t)
	k.checkTotals(t)
	k.checkLosses(t)
	k.checkClock(t)
	k.checkJournal(t)
	k.checkSteady(t)
	k.keep(t)
}

// soak is the run.
type soak struct {
	hours        float64
	brief        bool
	fileBytes    int64
	clock        soakClock
	whole, lossy *soakServer
	arrivals     *arrivals

	session *session.Dir
	journal *journal.Writer
	tables  *session.Tables
	pipe    *decode.Pipeline
	facts   session.Facts
	rotated bool
	now     uint64 // simulated
	ahead   int64  // of the wall clock, as written last
	read    uint64 // when
	records int64
	others  int64 // steps of the other engine that the tables have
	err     error
	began   time.Time
	results steady.Simulated
	anon    steady.Series
	heap    steady.Series
	objects steady.Series
}

func newSoak(t *testing.T) *soak {
	k := &soak{hours: 1.0 / 3, began: time.Now()}
	step := 100 * time.Millisecond
	place := t.TempDir()
	if text := os.Getenv("PMTRACE_SOAK_HOURS"); text != "" {
		var err error
		k.hours, err = strconv.ParseFloat(text, 64)
		qt.Assert(t, qt.IsNil(err))
		step, err = time.ParseDuration(os.Getenv("PMTRACE_SOAK_STEP"))
		qt.Assert(t, qt.IsNil(err))
		place = filepath.Join(os.Getenv("PMTRACE_SOAK_DIR"), "simulated")
		qt.Assert(t, qt.IsNil(os.RemoveAll(place)))
	}
	if k.brief = k.hours < 24; k.brief { // files are smaller, so that there are several
		k.fileBytes = 512 << 10
	}
	k.clock = soakClock{ppm: soakPPM, at: simStart + uint64(k.hours/2*3600e9), step: soakStep}
	k.whole, k.lossy = soakServers(soakWorld{uint64(step), min(24, k.hours) * 3600e9, k.clock.wall, k.record})
	k.arrivals = &arrivals{server: k.whole, clock: k.clock}
	k.results = steady.Simulated{Hours: k.hours, StepMS: float64(step) / 1e6, DriftPPM: soakPPM, StepS: soakStep / 1e9}
	k.create(t, place)
	// As trace does: frugal.
	debug.SetGCPercent(12)
	t.Cleanup(func() { debug.SetGCPercent(100) })
	return k
}

func (k *soak) create(t *testing.T, place string) {
	var err error
	k.session, err = session.Create(place, time.Unix(0, k.clock.wall(simStart)), session.Owner{UID: os.Geteuid(), GID: os.Getegid()})
	qt.Assert(t, qt.IsNil(err))
	sub, err := k.session.Sub("journal")
	qt.Assert(t, qt.IsNil(err))
	k.journal, err = journal.Create(sub, journal.Options{
		FileBytes: k.fileBytes, SyncEvery: -1,
		Rotated: func(*journal.Writer) error { k.rotated = true; return nil },
	})
	qt.Assert(t, qt.IsNil(err))
	start := record.Start{
		SchemaVersion: session.SchemaVersion, SessionID: k.session.Name(), Mode: "attach", Command: []string{"vllm", "serve"},
		MonoNS: simStart, WallNS: k.clock.wall(simStart),
	}
	k.facts.Add(record.Fact{Start: &start})
	k.tables, err = session.CreateTables(k.session, k.facts.About())
	qt.Assert(t, qt.IsNil(err))
	k.pipe = decode.NewPipeline(record.Tee{k.tables, k.arrivals}, decode.Options{OnError: func(err error) { k.fail(err) }})
	k.now = simStart
	k.fact(record.Fact{Start: &start})
	k.readClock()
}

func (k *soak) fail(err error) { k.err = errors.Join(k.err, err) }

// record takes what the recorder of a trace takes, and does with it what that does.
func (k *soak) record(r simRecord) {
	if k.err != nil {
		return
	}
	k.records++
	if err := k.journal.Append(r.kind, r.payload); err != nil {
		k.fail(err)
		return
	}
	if err := k.pipe.Record(r.kind, r.payload); err != nil {
		k.fail(err)
		return
	}
	if k.rotated {
		k.rotated = false
		k.readClock()
	}
}

func (k *soak) fact(f record.Fact) {
	b, err := json.Marshal(f)
	if err != nil {
		k.fail(err)
		return
	}
	k.facts.Add(f)
	k.record(simRecord{journal.KindFact, b})
}

func (k *soak) readClock() {
	c := record.Clock{MonoNS: int64(k.now), WallNS: k.clock.wall(k.now)}
	k.ahead, k.read = c.WallNS-c.MonoNS, k.now
	k.fact(record.Fact{Clock: &c})
}

// run goes through the hours, second by second.
func (k *soak) run(t *testing.T) {
	k.whole.begin()
	k.lossy.begin()
	end := simStart + uint64(k.hours*3600e9)
	look := uint64(min(k.hours/72, 0.25) * 3600e9)
	nextLook := simStart + look
	for k.now < end && k.err == nil {
		k.now += soakSecond
		for k.whole.now < k.now || k.lossy.now < k.now {
			if v := k.whole; v.now < k.lossy.now {
				v.step()
			} else {
				k.lossy.step()
			}
		}
		k.second()
		if k.brief && (k.now-simStart)%60e9 == 0 {
			k.cut()
		}
		if k.now >= nextLook {
			nextLook += look
			k.look(t)
		}
	}
	qt.Assert(t, qt.IsNil(k.err))
}

// cut completes the tables' parts, as --rotate does: in an hour they would not become complete
// by their rows, and memory grows until the first is.
func (k *soak) cut() {
	k.fact(record.Fact{Cut: &record.Cut{MonoNS: int64(k.now)}})
	if err := k.tables.Cut(); err != nil {
		k.fail(err)
	}
}

// second is what a trace does each second: trace.second.
func (k *soak) second() {
	if (k.now-simStart)/soakSecond%5 == 0 {
		k.losses()
	}
	stepped := k.clock.wall(k.now) - int64(k.now) - k.ahead
	if k.now-k.read >= 600e9 || max(stepped, -stepped) > 1e9 {
		k.readClock()
	}
	if err := k.journal.Flush(); err != nil {
		k.fail(err)
	}
}

func (k *soak) losses() {
	k.fact(record.Fact{Losses: &record.Losses{MonoNS: int64(k.now), Counts: []record.Loss{
		{Engine: 1, Probe: "schedule_return", Reason: "ring_full", Count: uint64(k.lossy.dropped), Lost: true},
		{Engine: 0, Probe: "free_blocks", Reason: "foreign", Count: (k.now - simStart) / soakSecond},
	}}})
}

// look notes the memory: all of it, and what of it is in use.
func (k *soak) look(t *testing.T) {
	hours := float64(k.now-simStart) / 3600e9
	p, err := steady.Look(os.Getpid())
	qt.Assert(t, qt.IsNil(err))
	k.anon.Add(hours, float64(p.Anon)/(1<<20))
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	k.heap.Add(hours, float64(m.HeapAlloc)/(1<<20))
	k.objects.Add(hours, float64(m.HeapObjects))
	if !k.brief && int(4*hours)%4 == 0 {
		t.Logf("%.1f h after %v: %.1f MiB anonymous, %.1f MiB in use by %d objects, %d steps",
			hours, time.Since(k.began).Round(time.Second), float64(p.Anon)/(1<<20), float64(m.HeapAlloc)/(1<<20), m.HeapObjects, k.whole.counts.Steps)
	}
}

// finish ends the session, and writes its other files.
func (k *soak) finish(t *testing.T) {
	k.whole.end()
	k.lossy.end()
	k.now = max(k.whole.now, k.lossy.now)
	k.losses()
	k.fact(record.Fact{End: &record.End{MonoNS: int64(k.now), WallNS: k.clock.wall(k.now), Reason: "interrupted", Events: uint64(k.records)}})
	qt.Assert(t, qt.IsNil(k.err))
	qt.Assert(t, qt.IsNil(k.journal.Close()))
	_, err := k.pipe.Close()
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.IsNil(k.tables.Close()))
	k.results.TookS = time.Since(k.began).Seconds()
	_, err = session.WriteFiles(k.session, &k.facts, k.brief)
	qt.Assert(t, qt.IsNil(err))
	p, err := steady.Look(os.Getpid())
	qt.Assert(t, qt.IsNil(err))
	k.results.AtEndMiB = float64(p.Anon) / (1 << 20)
}

// count goes through some columns of a table.
func count[T any](t *testing.T, k *soak, table string, add func(*T)) {
	t.Helper()
	for row, err := range session.Columns[T](k.session, table) {
		if err != nil {
			t.Fatal(err)
		}
		add(row)
	}
}

// rowsOf is how many rows of a table are the first engine's.
func (k *soak) rowsOf(t *testing.T, table string) (n int64) {
	count(t, k, table, func(r *struct {
		Engine int32 `parquet:"engine"`
	}) {
		n += int64(1 - r.Engine)
	})
	return n
}

type stepColumns struct {
	Engine   int32  `parquet:"engine"`
	StepID   int64  `parquet:"step_id"`
	Tokens   int32  `parquet:"tokens"`
	Outputs  *int32 `parquet:"output_tokens,optional"`
	Preempts int32  `parquet:"preempted"`
	Launches *int32 `parquet:"kernel_launches,optional"`
}

// checkTotals reads the tables back and compares the engine of which nothing was lost.
func (k *soak) checkTotals(t *testing.T) {
	var got steady.Totals
	count(t, k, session.TableSteps, func(r *stepColumns) {
		if r.Engine != 0 {
			k.others++
			return
		}
		if r.StepID != got.Steps {
			t.Fatalf("step %d after %d others", r.StepID, got.Steps)
		}
		got.Steps++
		got.Tokens += int64(r.Tokens)
		got.OutputTokens += int64(*r.Outputs)
		got.Preempted += int64(r.Preempts)
		if r.Launches != nil {
			got.Launches += int64(*r.Launches)
		}
	})
	count(t, k, session.TableStepRequests, func(r *struct {
		Engine    int32 `parquet:"engine"`
		Scheduled int32 `parquet:"scheduled_tokens"`
	}) {
		if r.Engine == 0 {
			got.StepRequests++
			got.Scheduled += int64(r.Scheduled)
		}
	})
	count(t, k, session.TableRequests, func(r *struct {
		Engine  int32  `parquet:"engine"`
		Outputs *int32 `parquet:"output_tokens,optional"`
	}) {
		if r.Engine == 0 {
			got.Requests++
			got.RequestOutputs += int64(*r.Outputs)
		}
	})
	count(t, k, session.TableGraphLaunches, func(r *struct {
		StepID     *int64  `parquet:"step_id,optional"`
		Descriptor *string `parquet:"descriptor,optional"`
	}) {
		if r.StepID == nil || r.Descriptor == nil {
			t.Fatal("a replay without a step or a name")
		}
		got.Replays++
	})
	got.Preemptions = k.rowsOf(t, session.TablePreemptions)
	got.Usage, got.Blocks = k.rowsOf(t, session.TableKVUsage), k.rowsOf(t, session.TableKVBlocks)
	got.Evictions = k.rowsOf(t, session.TableKVEvictions)
	qt.Check(t, qt.Equals(got, k.whole.counts))
	// It must have had what it is here for.
	for what, n := range map[string]int64{"preemptions": got.Preemptions, "evictions": got.Evictions, "replays": got.Replays, "losses": int64(k.lossy.dropped)} {
		qt.Check(t, qt.IsTrue(n > 0), qt.Commentf("no %s", what))
	}
	k.results.Totals = got
}

// checkLosses: all that the ring has lost is in the table, and nothing else.
func (k *soak) checkLosses(t *testing.T) {
	lost, unknown := int64(0), int64(0)
	count(t, k, session.TableLosses, func(r *record.LossRow) {
		qt.Check(t, qt.IsTrue(r.Engine != nil && *r.Engine == 1), qt.Commentf("%+v", *r))
		switch r.Reason {
		case "ring_full":
			lost += r.Count
		case "unknown_request": // its announcement was lost, and it is told of again within some steps
			unknown += r.Count
		default:
			t.Errorf("loss %+v", *r)
		}
	})
	qt.Check(t, qt.Equals(lost, int64(k.lossy.dropped)))
	qt.Check(t, qt.IsTrue(unknown <= 30*lost), qt.Commentf("%d rows of unknown requests", unknown))
	made := k.lossy.counts.Steps
	qt.Check(t, qt.IsTrue(k.others <= made && k.others >= made-int64(k.lossy.dropped)), qt.Commentf("%d steps of %d", k.others, made))
	k.results.Lost, k.results.Dropped = lost, int64(k.lossy.dropped)
}

// checkClock: what the server told by its wall clock is right on the session's, over drift and step.
func (k *soak) checkClock(t *testing.T) {
	a := k.arrivals
	qt.Check(t, qt.Equals(a.all, k.whole.counts.Requests))
	qt.Check(t, qt.IsTrue(a.most <= soakDriftNS), qt.Commentf("an arrival is off by %d ns", a.most))
	qt.Check(t, qt.IsTrue(float64(a.around) <= 5+2*7*k.whole.rate), qt.Commentf("%d requests are off by the clock's step", a.around))
	k.results.ArrivalOffMS, k.results.AroundStep = float64(a.most)/1e6, a.around
}

// checkJournal reads all files of the journal, and once more when its end is torn off.
func (k *soak) checkJournal(t *testing.T) {
	dir := filepath.Join(k.session.Path(), "journal")
	files, err := filepath.Glob(filepath.Join(dir, "*.pmj"))
	qt.Assert(t, qt.IsNil(err))
	limit := k.fileBytes
	if limit == 0 {
		limit = 256 << 20
	}
	size := int64(0)
	for i, f := range files {
		info, err := os.Stat(f)
		qt.Assert(t, qt.IsNil(err))
		size += info.Size()
		last := i == len(files)-1
		qt.Check(t, qt.IsTrue(info.Size() < limit+2<<20 && (last || info.Size() >= limit)), qt.Commentf("%s: %d bytes", f, info.Size()))
	}
	qt.Check(t, qt.IsTrue(len(files) > 1), qt.Commentf("the journal has one file of %d bytes", size))
	records, damage := readJournal(t, dir)
	qt.Check(t, qt.Equals(records, k.records))
	qt.Check(t, qt.HasLen(damage, 0))

	lastFile := files[len(files)-1]
	info, err := os.Stat(lastFile)
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.IsNil(os.Truncate(lastFile, info.Size()-3)))
	torn, damage := readJournal(t, dir)
	qt.Check(t, qt.HasLen(damage, 1))
	qt.Check(t, qt.IsTrue(torn < records && torn > records-10_000), qt.Commentf("%d records of %d", torn, records))
	k.results.JournalFiles, k.results.JournalMiB, k.results.Records = len(files), float64(size)/(1<<20), records
}

func readJournal(t *testing.T, dir string) (records int64, damage []journal.Damage) {
	t.Helper()
	r, err := journal.Open(os.DirFS(dir))
	qt.Assert(t, qt.IsNil(err))
	defer r.Close()
	for {
		_, err := r.Next()
		if errors.Is(err, io.EOF) {
			damage, _ = r.Damage()
			return records, damage
		}
		if err != nil {
			t.Fatal(err)
		}
		records++
	}
}

// checkSteady: memory and objects are at last what they were at first.
func (k *soak) checkSteady(t *testing.T) {
	// It takes a day until tables with few rows have as many parts' worth of memory as they will
	// ever have; and the days are compared with each other: by night there is less to do.
	warmUp, day := k.hours/3, 0.5
	r := &k.results
	r.Anon = steady.Of(k.anon, warmUp, day, 8)
	r.Heap = steady.Of(k.heap, warmUp, day, 4)
	r.Objects = steady.Of(k.objects, warmUp, day, 10_000)
	for i := range 12 {
		at := (i+1)*len(k.anon.Hours)/12 - 1
		r.Looks = append(r.Looks, steady.Usage{Hours: k.anon.Hours[at], Anon: k.anon.Values[at], Heap: k.heap.Values[at], Objects: k.objects.Values[at]})
	}
	qt.Check(t, qt.IsNil(r.Anon.Check("anonymous memory (MiB)")))
	qt.Check(t, qt.IsNil(r.Heap.Check("memory in use (MiB)")))
	qt.Check(t, qt.IsNil(r.Objects.Check("objects in use")))
	parts, err := session.Parts(k.session, func(string) bool { return false })
	qt.Assert(t, qt.IsNil(err))
	for _, p := range parts {
		r.Rows += p.Rows
		qt.Check(t, qt.IsTrue(p.Rows <= 1<<20))
	}
	r.Parts = len(parts)
	disk, _, err := steady.Disk(filepath.Join(k.session.Path(), "parquet"))
	qt.Assert(t, qt.IsNil(err))
	r.ParquetMiB = float64(disk) / (1 << 20)
}

func (k *soak) keep(t *testing.T) {
	data, err := json.MarshalIndent(k.results, "", " ")
	qt.Assert(t, qt.IsNil(err))
	t.Log(string(data))
	if file := os.Getenv("PMTRACE_SOAK_RESULTS"); file != "" {
		qt.Assert(t, qt.IsNil(os.WriteFile(file, data, 0o644)))
		qt.Assert(t, qt.IsNil(os.RemoveAll(filepath.Dir(k.session.Path()))))
	}
}
