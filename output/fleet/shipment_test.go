package fleet_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-quicktest/qt"
	"github.com/parquet-go/parquet-go"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/fleet"
	"github.com/pmtrace/pmtrace/output/fleet/store"
	"github.com/pmtrace/pmtrace/output/internal/traffic"
	"github.com/pmtrace/pmtrace/output/session"
)

// made is a session that is being traced: rows go in until end.
type made struct {
	t      testing.TB
	dir    *session.Dir
	facts  *session.Facts
	tables *session.Tables
	rows   *traffic.Server
}

func makeSession(t testing.TB, at time.Time) *made {
	dir, err := session.Create(t.TempDir(), at, session.Owner{UID: os.Geteuid(), GID: os.Getegid()})
	qt.Assert(t, qt.IsNil(err))
	t.Cleanup(func() { dir.Close() })
	m := &made{t: t, dir: dir, facts: &session.Facts{}}
	m.facts.Add(record.Fact{Start: &record.Start{SessionID: dir.Name(), Host: "host-a", Version: "v1", MonoNS: 5, WallNS: at.UnixNano(), Command: []string{"vllm", "serve", "m"}}})
	m.facts.Add(record.Fact{Engine: &record.Engine{Model: "m", VLLM: "0.33.0", TP: 2, Blocks: 700}})
	m.tables, err = session.CreateTables(dir, m.facts.About())
	qt.Assert(t, qt.IsNil(err))
	m.rows = traffic.New(traffic.Decode32)
	m.rows.Rows = m.tables
	return m
}

func (m *made) steps(n int) {
	for range n {
		_, err := m.rows.Step()
		qt.Assert(m.t, qt.IsNil(err))
	}
}

func (m *made) end() {
	qt.Assert(m.t, qt.IsNil(m.tables.Close()))
	m.facts.Add(record.Fact{End: &record.End{MonoNS: 5 + 60e9, WallNS: m.facts.Start.WallNS + 60e9, Reason: "server_exited"}})
	_, err := session.WriteFiles(m.dir, m.facts, false)
	qt.Assert(m.t, qt.IsNil(err))
}

var noon = time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)

func directory(t testing.TB) (store.Store, string) {
	place := filepath.Join(t.TempDir(), "fleet")
	s, err := store.Open(place, func(string) string { return "" })
	qt.Assert(t, qt.IsNil(err))
	return s, place
}

// tree is what lies in a directory, by name.
func tree(t testing.TB, place string) map[string]string {
	files := map[string]string{}
	err := filepath.WalkDir(place, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		name, _ := filepath.Rel(place, path)
		files[name] = string(b)
		return err
	})
	qt.Assert(t, qt.IsNil(err))
	return files
}

func names(files map[string]string) []string { return slices.Sorted(maps.Keys(files)) }

// rowsOf counts the rows of the session's own tables.
func rowsOf(t testing.TB, dir *session.Dir) map[string]int64 {
	parts, err := session.Parts(dir, func(string) bool { return false })
	qt.Assert(t, qt.IsNil(err))
	rows := map[string]int64{fleet.TableSessions: 1}
	for _, p := range parts {
		if p.Rows > 0 {
			rows[p.Table] += p.Rows
		}
	}
	return rows
}

func TestShip(t *testing.T) {
	m := makeSession(t, noon)
	m.steps(100)
	m.end()
	s, place := directory(t)
	ship := fleet.New(s, m.dir, fleet.Options{})
	qt.Assert(t, qt.IsNil(ship.Finish(t.Context())))
	qt.Check(t, qt.IsNil(ship.Verify(t.Context())))
	qt.Check(t, qt.DeepEquals(ship.Manifest().Rows(), rowsOf(t, m.dir)))

	files := tree(t, place)
	const partitions = "host=host-a/date=2026-11-27/session=session_20261127_120000"
	for name, content := range files {
		if strings.HasPrefix(name, "_manifests/") {
			qt.Check(t, qt.Equals(name, "_manifests/"+partitions+".json"))
			continue
		}
		table, rest, _ := strings.Cut(name, "/")
		qt.Check(t, qt.Equals(rest, partitions+"/part-00000.parquet"))
		if table == fleet.TableSessions {
			continue
		}
		own, err := fs.ReadFile(m.dir.FS(), "parquet/"+table+"/part-00000.parquet")
		qt.Assert(t, qt.IsNil(err))
		qt.Check(t, qt.IsTrue(string(own) == content), qt.Commentf("%s", name))
	}
	row := sessionRow(t, place, partitions)
	qt.Check(t, qt.Equals(row.SessionID, "session_20261127_120000"))
	qt.Check(t, qt.IsTrue(row.StartTime.Equal(noon)))
	qt.Check(t, qt.IsTrue(row.EndTime.Equal(noon.Add(time.Minute))))
	qt.Check(t, qt.DeepEquals([]any{*row.EndReason, *row.Hostname, *row.Model, *row.VLLM, *row.TP, *row.Blocks, *row.Steps}, []any{"server_exited", "host-a", "m", "0.33.0", int32(2), int32(700), int64(100)}))
	qt.Check(t, qt.DeepEquals(row.Command, []string{"vllm", "serve", "m"}))
	qt.Check(t, qt.IsTrue(row.MaxSeqs == nil && row.GPU == nil))
	var metadata map[string]any
	qt.Check(t, qt.IsNil(json.Unmarshal([]byte(*row.Metadata), &metadata)))
	qt.Check(t, qt.Equals(metadata["session_id"], any(row.SessionID)))

	// Again: nothing is sent, nothing changes.
	again := fleet.New(s, m.dir, fleet.Options{})
	qt.Assert(t, qt.IsNil(again.Finish(t.Context())))
	qt.Check(t, qt.Equals(again.Tally, fleet.Tally{There: ship.Tally.Files}))
	qt.Check(t, qt.DeepEquals(tree(t, place), files))

	// What was damaged there is sent again; what was lost, too.
	steps := filepath.Join(place, "steps", partitions, "part-00000.parquet")
	qt.Assert(t, qt.IsNil(os.WriteFile(steps, []byte("rot"), 0o600)))
	qt.Check(t, qt.ErrorMatches(ship.Verify(t.Context()), "steps/.*part-00000.parquet is not in the store as it was sent"))
	qt.Assert(t, qt.IsNil(os.Remove(filepath.Join(place, "step_requests", partitions, "part-00000.parquet"))))
	qt.Check(t, qt.ErrorMatches(ship.Verify(t.Context()), "step_requests/.*: .*no such file or directory"))
	third := fleet.New(s, m.dir, fleet.Options{})
	qt.Assert(t, qt.IsNil(third.Finish(t.Context())))
	qt.Check(t, qt.Equals(third.Tally.Files, 2))
	qt.Check(t, qt.DeepEquals(tree(t, place), files))
}

func sessionRow(t testing.TB, place, partitions string) fleet.SessionRow {
	rows, err := parquet.ReadFile[fleet.SessionRow](filepath.Join(place, fleet.TableSessions, partitions, "part-00000.parquet"))
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.HasLen(rows, 1))
	return rows[0]
}

// While a session is traced, its parts are shipped as they become complete.
func TestShipWhileTraced(t *testing.T) {
	m := makeSession(t, noon)
	s, place := directory(t)
	ship := fleet.New(s, m.dir, fleet.Options{Host: "node-7"})
	qt.Assert(t, qt.IsNil(ship.Sync(t.Context())))
	_, err := os.Stat(place)
	qt.Check(t, qt.ErrorIs(err, fs.ErrNotExist))
	qt.Check(t, qt.ErrorIs(ship.Finish(t.Context()), fleet.ErrUnfinished))

	const partitions = "host=node-7/date=2026-11-27/session=session_20261127_120000"
	for n := range 3 {
		m.steps(50)
		qt.Assert(t, qt.IsNil(m.tables.Cut()))
		waiting, err := ship.Waiting()
		qt.Assert(t, qt.IsNil(err))
		qt.Check(t, qt.IsTrue(waiting > 0))
		qt.Assert(t, qt.IsNil(ship.Sync(t.Context())))
		qt.Check(t, qt.Equals(ship.Manifest().Rows()["steps"], int64(50*(n+1))))
		qt.Check(t, qt.IsFalse(ship.Manifest().Complete))
		row := sessionRow(t, place, partitions)
		qt.Check(t, qt.IsTrue(row.StartTime.Equal(noon) && row.EndTime == nil && row.Steps == nil))
	}
	m.steps(10)
	m.end()
	// Who traced has died; another goes on.
	ship = fleet.New(s, m.dir, fleet.Options{Host: "node-7"})
	qt.Assert(t, qt.IsNil(ship.Finish(t.Context())))
	qt.Check(t, qt.DeepEquals(ship.Manifest().Rows(), rowsOf(t, m.dir)))
	qt.Check(t, qt.Equals(ship.Manifest().Rows()["steps"], 160))
	qt.Check(t, qt.IsTrue(ship.Manifest().Complete))
	row := sessionRow(t, place, partitions)
	qt.Check(t, qt.Equals(*row.Steps, 160))
}

var errGone = errors.New("the store is gone")

// failing fails from a call on.
type failing struct {
	store.Store
	calls int
}

func (f *failing) call() error {
	f.calls--
	if f.calls < 0 {
		return errGone
	}
	return nil
}

func (f *failing) Put(ctx context.Context, name string, c io.ReaderAt, o store.Object) error {
	if err := f.call(); err != nil {
		return err
	}
	return f.Store.Put(ctx, name, c, o)
}

func (f *failing) Stat(ctx context.Context, name string) (store.Object, error) {
	if err := f.call(); err != nil {
		return store.Object{}, err
	}
	return f.Store.Stat(ctx, name)
}

func (f *failing) Remove(ctx context.Context, name string) error {
	if err := f.call(); err != nil {
		return err
	}
	return f.Store.Remove(ctx, name)
}

func (f *failing) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	if err := f.call(); err != nil {
		return nil, err
	}
	return f.Store.Get(ctx, name)
}

// Wherever a shipment ends, the next one completes it: nothing is missing, nothing twice.
func TestShipmentEndsAnywhere(t *testing.T) {
	m := makeSession(t, noon)
	m.steps(30)
	m.end()
	s, place := directory(t)
	whole := fleet.New(s, m.dir, fleet.Options{})
	qt.Assert(t, qt.IsNil(whole.Finish(t.Context())))
	want := tree(t, place)
	for calls := 0; ; calls++ {
		s, place := directory(t)
		away := &failing{s, calls}
		first := fleet.New(away, m.dir, fleet.Options{})
		err := first.Finish(t.Context())
		if err == nil {
			qt.Check(t, qt.IsTrue(calls > 3*len(want)/2), qt.Commentf("%d calls", calls))
			break
		}
		qt.Assert(t, qt.ErrorIs(err, errGone))
		// The same shipment may go on, or another one.
		if calls%2 == 0 {
			first = fleet.New(s, m.dir, fleet.Options{})
			qt.Assert(t, qt.IsNil(first.Finish(t.Context())))
			qt.Check(t, qt.IsTrue(first.Tally.Files+first.Tally.There == whole.Tally.Files))
		} else {
			away.calls = 1 << 20 // it is back
			qt.Assert(t, qt.IsNil(first.Finish(t.Context())))
		}
		qt.Assert(t, qt.DeepEquals(names(tree(t, place)), names(want)))
		qt.Assert(t, qt.DeepEquals(tree(t, place), want))
	}
}

// A session that was made again takes the place of what it was, and leaves nothing of it,
// wherever its first shipment ends.
func TestShipAgainWithFewerParts(t *testing.T) {
	m := makeSession(t, noon)
	m.steps(20)
	qt.Assert(t, qt.IsNil(m.tables.Cut()))
	m.steps(20)
	m.end()
	s, first := directory(t)
	qt.Assert(t, qt.IsNil(fleet.New(s, m.dir, fleet.Options{}).Finish(t.Context())))
	before := tree(t, first)

	tables, err := session.RemakeTables(m.dir, m.facts.About())
	qt.Assert(t, qt.IsNil(err))
	rows := traffic.New(traffic.Decode32)
	rows.Rows = tables
	for range 40 {
		_, err := rows.Step()
		qt.Assert(t, qt.IsNil(err))
	}
	qt.Assert(t, qt.IsNil(tables.Close()))
	s, anew := directory(t)
	qt.Assert(t, qt.IsNil(fleet.New(s, m.dir, fleet.Options{}).Finish(t.Context())))
	want := tree(t, anew)
	qt.Assert(t, qt.IsTrue(len(want) < len(before)))
	for calls := 0; ; calls++ {
		s, place := directory(t)
		qt.Assert(t, qt.IsNil(os.CopyFS(place, os.DirFS(first))))
		err := fleet.New(&failing{s, calls}, m.dir, fleet.Options{}).Finish(t.Context())
		again := fleet.New(s, m.dir, fleet.Options{})
		qt.Assert(t, qt.IsNil(again.Finish(t.Context())))
		qt.Assert(t, qt.DeepEquals(names(tree(t, place)), names(want)), qt.Commentf("%d calls", calls))
		qt.Assert(t, qt.DeepEquals(tree(t, place), want), qt.Commentf("%d calls", calls))
		qt.Assert(t, qt.DeepEquals(again.Manifest().Rows(), rowsOf(t, m.dir)))
		if err == nil {
			break
		}
		qt.Assert(t, qt.ErrorIs(err, errGone))
	}
}

// The same while the session goes on: what was cut off is made up for, with the next part
// or without.
func TestSyncEndsAnywhere(t *testing.T) {
	for calls := 0; ; calls++ {
		m := makeSession(t, noon)
		m.steps(20)
		qt.Assert(t, qt.IsNil(m.tables.Cut()))
		s, place := directory(t)
		away := &failing{s, calls}
		ship := fleet.New(away, m.dir, fleet.Options{Host: "host-a"})
		err := ship.Sync(t.Context())
		if err == nil {
			break
		}
		qt.Assert(t, qt.ErrorIs(err, errGone))
		away.calls = 1 << 20
		qt.Assert(t, qt.IsNil(ship.Sync(t.Context())))
		rows := rowsOf(t, m.dir)
		text, err := os.ReadFile(filepath.Join(place, "_manifests/host=host-a/date=2026-11-27/session=session_20261127_120000.json"))
		qt.Assert(t, qt.IsNil(err))
		var there fleet.Manifest
		qt.Assert(t, qt.IsNil(json.Unmarshal(text, &there)))
		qt.Assert(t, qt.DeepEquals(there.Rows(), rows), qt.Commentf("%d calls", calls))
		m.end()
	}
}

// Two sessions of one name do not mix.
func TestOtherSessionOfTheName(t *testing.T) {
	s, place := directory(t)
	a, b := makeSession(t, noon), makeSession(t, noon.Add(time.Millisecond))
	for _, m := range []*made{a, b} {
		m.steps(3)
		m.end()
	}
	qt.Assert(t, qt.IsNil(fleet.New(s, a.dir, fleet.Options{}).Finish(t.Context())))
	want := tree(t, place)
	err := fleet.New(s, b.dir, fleet.Options{}).Finish(t.Context())
	qt.Assert(t, qt.ErrorMatches(err, "host host-a has shipped another session session_20261127_120000 there, which began at 2026-11-27T12:00:00Z"))
	qt.Check(t, qt.DeepEquals(tree(t, place), want))
	qt.Check(t, qt.IsNil(fleet.New(s, b.dir, fleet.Options{Host: "host/b c"}).Finish(t.Context())))
	_, err = os.Stat(filepath.Join(place, "steps", "host=host_b_c"))
	qt.Check(t, qt.IsNil(err))
}

// The journal goes along where asked for, and stays when it is not asked for again.
func TestShipRaw(t *testing.T) {
	m := makeSession(t, noon)
	m.steps(3)
	m.end()
	journal, err := m.dir.Sub("journal")
	qt.Assert(t, qt.IsNil(err))
	defer journal.Close()
	for _, name := range []string{"00000.pmj", "00001.pmj"} {
		qt.Assert(t, qt.IsNil(journal.Replace(name, func(w io.Writer) error { _, err := io.WriteString(w, "raw "+name); return err })))
	}
	s, place := directory(t)
	ship := fleet.New(s, m.dir, fleet.Options{Raw: true})
	qt.Assert(t, qt.IsNil(ship.Finish(t.Context())))
	qt.Check(t, qt.IsNil(ship.Verify(t.Context())))
	files := tree(t, place)
	const raw = "_raw/host=host-a/date=2026-11-27/session=session_20261127_120000/"
	qt.Check(t, qt.Equals(files[raw+"journal/00001.pmj"], "raw 00001.pmj"))
	metadata, err := fs.ReadFile(m.dir.FS(), "metadata.json")
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(files[raw+"metadata.json"], string(metadata)))
	qt.Assert(t, qt.IsNil(fleet.New(s, m.dir, fleet.Options{}).Finish(t.Context())))
	qt.Check(t, qt.DeepEquals(tree(t, place), files))
}

func TestNoSession(t *testing.T) {
	s, _ := directory(t)
	dir, err := session.Create(t.TempDir(), noon, session.Owner{UID: os.Geteuid(), GID: os.Getegid()})
	qt.Assert(t, qt.IsNil(err))
	defer dir.Close()
	qt.Check(t, qt.ErrorIs(fleet.New(s, dir, fleet.Options{}).Finish(t.Context()), fleet.ErrUnfinished))

	m := makeSession(t, noon)
	m.facts.Start.WallNS = 0 // the journal's beginning is damaged
	m.end()
	qt.Check(t, qt.ErrorMatches(fleet.New(s, m.dir, fleet.Options{}).Finish(t.Context()), "session .* does not say when it began"))
}
