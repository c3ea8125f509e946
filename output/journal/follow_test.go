package journal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-quicktest/qt"
)

type rootCreator struct{ *os.Root }

func (r rootCreator) Create(name string) (*os.File, error) {
	return r.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
}

// drained is what a reader has now.
func drained(t *testing.T, r *Reader) (list []string) {
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			return list
		}
		qt.Assert(t, qt.IsNil(err))
		list = append(list, string(rec.Payload))
	}
}

// What is flushed is there for a reader at once, in this file or the next, and what is
// not is neither missed nor damage.
func TestFollow(t *testing.T) {
	place := t.TempDir()
	root, err := os.OpenRoot(place)
	qt.Assert(t, qt.IsNil(err))
	defer root.Close()
	w, err := Create(rootCreator{root}, Options{FileBytes: 300, SyncEvery: -1})
	qt.Assert(t, qt.IsNil(err))
	r, err := Follow(root.FS())
	qt.Assert(t, qt.IsNil(err))
	defer r.Close()
	qt.Assert(t, qt.HasLen(drained(t, r), 0))
	for i := range 100 {
		payload := fmt.Sprintf("record %d", i)
		qt.Assert(t, qt.IsNil(w.Append('X', []byte(payload))))
		if i%7 == 1 { // all before it was read
			qt.Assert(t, qt.HasLen(drained(t, r), 0))
		}
		qt.Assert(t, qt.IsNil(w.Flush()))
		if i%7 != 0 { // several frames and files at once as well
			continue
		}
		got := drained(t, r)
		qt.Assert(t, qt.Equals(got[len(got)-1], payload))
	}
	qt.Assert(t, qt.IsNil(w.Close()))
	drained(t, r)
	list, more := r.Damage()
	qt.Check(t, qt.HasLen(list, 0))
	qt.Check(t, qt.Equals(more, 0))
	qt.Check(t, qt.Equals(r.Frames(), 100))
	files, _ := filepath.Glob(filepath.Join(place, "*.pmj"))
	qt.Check(t, qt.IsTrue(len(files) > 5))
}

// A file that is there in part, cut at any byte, is read up to its last whole frame, and
// on from there.
func TestFollowByteByByte(t *testing.T) {
	place := t.TempDir()
	root, err := os.OpenRoot(place)
	qt.Assert(t, qt.IsNil(err))
	defer root.Close()
	w, err := Create(rootCreator{root}, Options{SyncEvery: -1})
	qt.Assert(t, qt.IsNil(err))
	for i := range 5 {
		qt.Assert(t, qt.IsNil(w.Append('X', fmt.Appendf(nil, "record %d", i))))
		qt.Assert(t, qt.IsNil(w.Flush()))
	}
	qt.Assert(t, qt.IsNil(w.Close()))
	whole, err := fs.ReadFile(root.FS(), fileName(0))
	qt.Assert(t, qt.IsNil(err))

	grown := t.TempDir()
	f, err := os.Create(filepath.Join(grown, fileName(0)))
	qt.Assert(t, qt.IsNil(err))
	defer f.Close()
	r, err := Follow(os.DirFS(grown))
	qt.Assert(t, qt.IsNil(err))
	defer r.Close()
	var got []string
	for i := range whole {
		_, err := f.Write(whole[i : i+1])
		qt.Assert(t, qt.IsNil(err))
		got = append(got, drained(t, r)...)
	}
	qt.Check(t, qt.DeepEquals(got, []string{"record 0", "record 1", "record 2", "record 3", "record 4"}))
	list, _ := r.Damage()
	qt.Check(t, qt.HasLen(list, 0))
}

// What is damaged is passed over, and what comes after it is read.
func TestFollowDamaged(t *testing.T) {
	place := t.TempDir()
	root, err := os.OpenRoot(place)
	qt.Assert(t, qt.IsNil(err))
	defer root.Close()
	w, err := Create(rootCreator{root}, Options{SyncEvery: -1})
	qt.Assert(t, qt.IsNil(err))
	write := func(s string) {
		qt.Assert(t, qt.IsNil(w.Append('X', []byte(s))))
		qt.Assert(t, qt.IsNil(w.Flush()))
	}
	write("first")
	at := w.Size()
	write("second")
	f, err := root.OpenFile(fileName(0), os.O_WRONLY, 0)
	qt.Assert(t, qt.IsNil(err))
	_, err = f.WriteAt([]byte{0xff}, at+frameHeaderSize+3)
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.IsNil(f.Close()))
	r, err := Follow(root.FS())
	qt.Assert(t, qt.IsNil(err))
	defer r.Close()
	qt.Check(t, qt.DeepEquals(drained(t, r), []string{"first"}))
	write("third")
	qt.Check(t, qt.DeepEquals(drained(t, r), []string{"third"}))
	list, _ := r.Damage()
	qt.Assert(t, qt.HasLen(list, 1))
	qt.Check(t, qt.Equals(list[0].FramesSkipped, 1))
	qt.Assert(t, qt.IsNil(w.Close()))
}

// Reader and writer side by side, over many files.
func TestFollowConcurrently(t *testing.T) {
	followed(t, Options{FileBytes: 2000, SyncEvery: time.Millisecond}, 3000, (*Writer).Flush)
}

// followed follows a journal while records are written, each of them kept at once.
func followed(t *testing.T, opts Options, records int, keep func(*Writer) error) {
	t.Helper()
	root, err := os.OpenRoot(t.TempDir())
	qt.Assert(t, qt.IsNil(err))
	defer root.Close()
	w, err := Create(rootCreator{root}, opts)
	qt.Assert(t, qt.IsNil(err))
	r, err := Follow(root.FS())
	qt.Assert(t, qt.IsNil(err))
	defer r.Close()
	written := make(chan error, 1)
	go func() {
		for i := range records {
			if err := errors.Join(w.Append('X', numbered(i)), keep(w)); err != nil {
				written <- err
				return
			}
		}
		written <- w.Close()
	}()
	for n := 0; n < records; {
		for _, s := range drained(t, r) {
			qt.Assert(t, qt.Equals(s, string(numbered(n))))
			n++
		}
	}
	qt.Assert(t, qt.IsNil(<-written))
	list, _ := r.Damage()
	qt.Check(t, qt.HasLen(list, 0))
}
