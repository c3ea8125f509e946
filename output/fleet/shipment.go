package fleet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"github.com/pmtrace/pmtrace/output/fleet/store"
	"github.com/pmtrace/pmtrace/output/session"
)

// ErrUnfinished says that a session has no metadata.json: it is being traced, or was
// killed.
var ErrUnfinished = errors.New("it has not ended: there is no " + session.FileMetadata)

// ErrNothing says that a session has no table yet.
var ErrNothing = errors.New("it has no complete part of a table")

// OtherError says that another session lies where one should go.
type OtherError struct {
	Place  Place
	Theirs string // when it began
}

func (e *OtherError) Error() string {
	return fmt.Sprintf("host %s has shipped another session %s there, which began at %s", e.Place.Host, e.Place.Session, e.Theirs)
}

// Options of a Shipment.
type Options struct {
	// Host names the session's host among the others; "": what the host calls itself.
	Host string
	// Raw: the journal goes along, and what else is in no table.
	Raw bool
}

// Tally counts what was done.
type Tally struct {
	Files, Bytes int64 // put
	There        int64 // files that were there already, the same
	Stale        int64 // files removed: an earlier shipment of the session had them
}

// Shipment brings one session into a store. What it has done it need not do again: it may
// be begun anew after whatever has ended it, and ships what is missing. It belongs to one
// goroutine.
type Shipment struct {
	Tally Tally

	store store.Store
	dir   *session.Dir
	opts  Options
	place Place
	// manifest is what is there, by an earlier shipment as well until its files are removed.
	manifest *Manifest
	shipped  map[string]bool // files of this shipment
	read     map[string]bool // parts of the session that are dealt with
	about    session.About
	begun    bool // there is a row for it
	unsaid   bool // the manifest says less than is there
}

// New begins a shipment, without a word to the store.
func New(s store.Store, dir *session.Dir, o Options) *Shipment {
	return &Shipment{store: s, dir: dir, opts: o, shipped: map[string]bool{}, read: map[string]bool{}}
}

// Waiting counts the complete parts that are not shipped.
func (s *Shipment) Waiting() (int, error) {
	parts, err := s.waiting()
	return len(parts), err
}

func (s *Shipment) waiting() ([]session.Part, error) {
	return session.Parts(s.dir, func(path string) bool { return s.read[path] })
}

// Sync ships the parts that have become complete since the last time.
func (s *Shipment) Sync(ctx context.Context) error {
	parts, err := s.waiting()
	if err != nil {
		return err
	}
	for i := range parts {
		p := &parts[i]
		if err := s.settle(ctx, p.About); err != nil {
			return err
		}
		if p.Rows > 0 { // a file for nothing is one more to open for each question
			if err := s.file(ctx, p.Path, File{Name: s.place.part(p.Table, p.Name()), Table: p.Table, Rows: p.Rows}); err != nil {
				return err
			}
			s.unsaid = true
		}
		s.read[p.Path] = true
	}
	if !s.unsaid {
		return nil
	}
	if err := s.begin(ctx); err != nil {
		return err
	}
	return s.say(ctx)
}

// begin ships the row of a session that goes on.
func (s *Shipment) begin(ctx context.Context) error {
	if s.begun {
		return nil
	}
	row, err := begunRow(s.about)
	if err == nil {
		err = s.row(ctx, row)
	}
	s.begun = err == nil
	return err
}

// say writes the manifest.
func (s *Shipment) say(ctx context.Context) error {
	err := s.manifest.write(ctx, s.store, s.place)
	s.unsaid = err != nil
	return err
}

// Finish ships the rest of a session that has ended, and with it the row that says so.
func (s *Shipment) Finish(ctx context.Context) error {
	facts, err := session.ReadFacts(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return ErrUnfinished
	}
	if err != nil {
		return err
	}
	if s.opts.Host == "" {
		s.opts.Host = facts.Start.Host
	}
	if err := s.settle(ctx, facts.About()); err != nil {
		return err
	}
	s.begun = true // its row comes below
	if err := s.Sync(ctx); err != nil {
		return err
	}
	if len(s.read) == 0 {
		return ErrNothing
	}
	if s.opts.Raw {
		if err := s.raw(ctx); err != nil {
			return err
		}
	}
	row, err := endedRow(s.dir)
	if err != nil {
		return err
	}
	if err := s.row(ctx, row); err != nil {
		return err
	}
	if err := s.removeStale(ctx); err != nil {
		return err
	}
	s.manifest.Complete = true
	return s.say(ctx)
}

// settle finds the session's place, and what is there.
func (s *Shipment) settle(ctx context.Context, about session.About) error {
	if s.manifest != nil {
		return nil
	}
	place, err := placeOf(s.opts.Host, about.SessionID, about.Start)
	if err != nil {
		return err
	}
	m := &Manifest{Format: manifestFormat, Host: place.Host, Session: about.SessionID, Start: about.Start}
	before, err := read(ctx, s.store, place)
	if err != nil {
		return err
	}
	if before != nil {
		if before.Start != about.Start {
			return &OtherError{place, before.Start}
		}
		m.Files = before.Files
	}
	s.place, s.about, s.manifest = place, about, m
	return nil
}

// file ships a file of the session.
func (s *Shipment) file(ctx context.Context, path string, as File) error {
	f, err := s.dir.OpenFile(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return s.put(ctx, f, as)
}

type content interface {
	io.Reader
	io.ReaderAt
}

// put ships what is not there the same.
func (s *Shipment) put(ctx context.Context, c content, as File) error {
	o, err := store.Of(c)
	if err != nil {
		return err
	}
	as.Bytes, as.SHA256 = o.Bytes, o.SHA256
	there, err := s.store.Stat(ctx, as.Name)
	switch {
	case err == nil && there == o:
		s.Tally.There++
		s.has(as)
		return nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := s.store.Put(ctx, as.Name, c, o); err != nil {
		return err
	}
	if there, err = s.store.Stat(ctx, as.Name); err != nil {
		return err
	}
	if there != o {
		return &differsError{as.Name}
	}
	s.Tally.Files++
	s.Tally.Bytes += o.Bytes
	s.has(as)
	return nil
}

func (s *Shipment) has(f File) {
	s.shipped[f.Name] = true
	s.manifest.put(f)
}

type differsError struct{ name string }

func (e *differsError) Error() string { return e.name + " is not in the store as it was sent" }

func (s *Shipment) row(ctx context.Context, row *SessionRow) error {
	b, err := parquetOf(row)
	if err != nil {
		return err
	}
	as := File{Name: s.place.part(TableSessions, "part-00000.parquet"), Table: TableSessions, Rows: 1}
	return s.put(ctx, bytes.NewReader(b), as)
}

// rawFiles cannot be made again from the journal.
var rawFiles = []string{session.FileMetadata, "load.json"}

func (s *Shipment) raw(ctx context.Context) error {
	files, err := fs.Glob(s.dir.FS(), "journal/*")
	if err != nil {
		return err
	}
	for _, name := range slices.Concat(files, rawFiles) {
		err := s.file(ctx, name, File{Name: s.place.raw(name)})
		if err != nil && !(errors.Is(err, fs.ErrNotExist) && slices.Contains(rawFiles, name)) {
			return err
		}
	}
	return nil
}

// removeStale removes what an earlier shipment had and this one has not: a newer pmtrace
// may have decoded the session into fewer parts. A journal shipped before stays.
func (s *Shipment) removeStale(ctx context.Context) error {
	stale := func(f File) bool { return f.Table != "" && !s.shipped[f.Name] }
	for _, f := range s.manifest.Files {
		if !stale(f) {
			continue
		}
		if err := s.store.Remove(ctx, f.Name); err != nil {
			return err
		}
		s.Tally.Stale++
	}
	s.manifest.Files = slices.DeleteFunc(s.manifest.Files, stale)
	return nil
}

// Verify reads every file back and compares it with what was sent.
func (s *Shipment) Verify(ctx context.Context) error {
	for i := range s.manifest.Files {
		f := &s.manifest.Files[i]
		if err := verify(ctx, s.store, f); err != nil {
			return err
		}
	}
	return nil
}

func verify(ctx context.Context, s store.Store, f *File) error {
	r, err := s.Get(ctx, f.Name)
	if err != nil {
		return fmt.Errorf("%s: %w", f.Name, err)
	}
	defer r.Close()
	o, err := store.Of(r)
	if err != nil {
		return fmt.Errorf("%s: %w", f.Name, err)
	}
	if o != f.object() {
		return &differsError{f.Name}
	}
	return nil
}

// Manifest is what has been shipped; nil: nothing yet.
func (s *Shipment) Manifest() *Manifest { return s.manifest }
