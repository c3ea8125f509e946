package session

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/parquet-go/parquet-go"
)

// Part is a complete part of a table.
type Part struct {
	Table string
	Path  string // in the session
	Rows  int64
	About About
}

// Parts are those that are complete, in the order of the tables and their own, with what
// their footers say. Those that known says are known already are left out.
func Parts(session *Dir, known func(path string) bool) ([]Part, error) {
	tables, err := fs.ReadDir(session.FS(), tablesDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("tables: %w", cause(err))
	}
	var parts []Part
	for _, t := range tables {
		paths, err := partsOf(session, t.Name())
		if err != nil {
			return nil, err
		}
		for _, p := range paths {
			if known(p) {
				continue
			}
			part, err := readFooter(session, t.Name(), p)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", p, cause(err))
			}
			parts = append(parts, part)
		}
	}
	return parts, nil
}

func readFooter(session *Dir, table, name string) (Part, error) {
	f, err := session.OpenFile(name)
	if err != nil {
		return Part{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return Part{}, err
	}
	file, err := parquet.OpenFile(f, info.Size(), parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		return Part{}, err
	}
	id, _ := file.Lookup(keySessionID)
	start, _ := file.Lookup(keySessionStart)
	return Part{Table: table, Path: name, Rows: file.NumRows(), About: About{SessionID: id, Start: start}}, nil
}

// Name is the part's own, without its table's.
func (p *Part) Name() string { return path.Base(p.Path) }

// OpenFile opens a file for reading.
func (d *Dir) OpenFile(name string) (*os.File, error) {
	f, err := d.openPlain(name)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path.Join(d.path, name), cause(err))
	}
	return f, nil
}

// RemoveSession removes a session with all that is in it.
func RemoveSession(session *Dir) error {
	place, err := os.OpenRoot(filepath.Dir(session.path))
	if err == nil {
		defer place.Close()
		err = place.RemoveAll(session.Name())
	}
	if err != nil {
		return fmt.Errorf("remove %s: %w", session.path, cause(err))
	}
	return nil
}
