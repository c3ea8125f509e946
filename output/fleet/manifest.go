package fleet

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"github.com/pmtrace/pmtrace/output/fleet/store"
)

// manifestFormat is raised when an older pmtrace could not go on with what a newer wrote.
const manifestFormat = 1

// Manifest says what of a session is in the store. It is written after the files.
type Manifest struct {
	Format  int    `json:"format"`
	Host    string `json:"host"`
	Session string `json:"session"`
	Start   string `json:"session_start"` // tells sessions of one name apart
	// Complete: the session had ended, and all of it is there.
	Complete bool   `json:"complete"`
	Files    []File `json:"files"` // by name
}

// File is one of the store's.
type File struct {
	Name   string `json:"name"`
	Table  string `json:"table,omitempty"` // "": no table's
	Rows   int64  `json:"rows,omitempty"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

func (f *File) object() store.Object { return store.Object{Bytes: f.Bytes, SHA256: f.SHA256} }

func (m *Manifest) find(name string) (int, bool) {
	return slices.BinarySearchFunc(m.Files, name, func(f File, name string) int { return cmp.Compare(f.Name, name) })
}

func (m *Manifest) put(f File) {
	i, ok := m.find(f.Name)
	if ok {
		m.Files[i] = f
		return
	}
	m.Files = slices.Insert(m.Files, i, f)
}

// Rows counts them by table.
func (m *Manifest) Rows() map[string]int64 {
	rows := map[string]int64{}
	for _, f := range m.Files {
		if f.Table != "" {
			rows[f.Table] += f.Rows
		}
	}
	return rows
}

// read reads the manifest of a place; without one: nil.
func read(ctx context.Context, s store.Store, p Place) (*Manifest, error) {
	r, err := s.Get(ctx, p.manifest())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var m Manifest
	if err := json.NewDecoder(io.LimitReader(r, 64<<20)).Decode(&m); err != nil {
		return nil, fmt.Errorf("%s: %w", p.manifest(), err)
	}
	if m.Format > manifestFormat {
		return nil, fmt.Errorf("%s was written by a newer pmtrace", p.manifest())
	}
	return &m, nil
}

func (m *Manifest) write(ctx context.Context, s store.Store, p Place) error {
	b, err := json.MarshalIndent(m, "", " ")
	if err != nil {
		return err
	}
	r := bytes.NewReader(append(b, '\n'))
	o, err := store.Of(r)
	if err != nil {
		return err
	}
	return s.Put(ctx, p.manifest(), r, o)
}
