package store_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-quicktest/qt"

	"github.com/pmtrace/pmtrace/e2e/s3server"
	"github.com/pmtrace/pmtrace/output/fleet/store"
)

func noEnv(string) string { return "" }

func content(n int, seed uint64) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed)})
	_, _ = r.Read(b)
	return b
}

func put(t *testing.T, s store.Store, name string, b []byte) store.Object {
	t.Helper()
	o, err := store.Of(bytes.NewReader(b))
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.IsNil(s.Put(t.Context(), name, bytes.NewReader(b), o)))
	return o
}

// Both kinds keep what they are given, of any size, and say what they have.
func TestStores(t *testing.T) {
	server := s3server.Start(t)
	for kind, open := range map[string]func() (store.Store, error){
		"directory": func() (store.Store, error) {
			return store.Open(filepath.Join(t.TempDir(), "deep", "er"), noEnv)
		},
		"bucket": func() (store.Store, error) {
			return store.Open("s3://"+server.Bucket+"/some/prefix", server.Get)
		},
		"bucket without prefix": func() (store.Store, error) {
			return store.Open("s3://"+server.Bucket+"?region=us-east-1&endpoint=http://"+server.Address, func(name string) string {
				if strings.HasSuffix(name, "KEY") || strings.HasSuffix(name, "KEY_ID") {
					return server.Get(name)
				}
				return ""
			})
		},
	} {
		t.Run(kind, func(t *testing.T) {
			s, err := open()
			qt.Assert(t, qt.IsNil(err))
			_, err = s.Stat(t.Context(), "a/b=c/none.parquet")
			qt.Check(t, qt.ErrorIs(err, fs.ErrNotExist))
			_, err = s.Get(t.Context(), "a/b=c/none.parquet")
			qt.Check(t, qt.ErrorIs(err, fs.ErrNotExist))
			qt.Check(t, qt.IsNil(s.Remove(t.Context(), "a/b=c/none.parquet")))
			for _, size := range []int{0, 1, 100_000, 40 << 20} { // the last in parts
				b := content(size, uint64(size))
				o := put(t, s, "a/b=c/part.parquet", b)
				got, err := s.Stat(t.Context(), "a/b=c/part.parquet")
				qt.Assert(t, qt.IsNil(err))
				qt.Check(t, qt.Equals(got, o))
				r, err := s.Get(t.Context(), "a/b=c/part.parquet")
				qt.Assert(t, qt.IsNil(err))
				back, err := io.ReadAll(r)
				qt.Assert(t, qt.IsNil(err))
				qt.Check(t, qt.IsNil(r.Close()))
				qt.Check(t, qt.IsTrue(bytes.Equal(back, b)), qt.Commentf("%d bytes", size))
			}
			qt.Check(t, qt.IsNil(s.Remove(t.Context(), "a/b=c/part.parquet")))
			_, err = s.Stat(t.Context(), "a/b=c/part.parquet")
			qt.Check(t, qt.ErrorIs(err, fs.ErrNotExist))
		})
	}
}

// cutOff fails in the middle of a file.
type cutOff struct {
	io.ReaderAt
	after int64
}

var errCutOff = errors.New("cut off")

func (c cutOff) ReadAt(b []byte, at int64) (int, error) {
	if at+int64(len(b)) > c.after {
		return 0, errCutOff
	}
	return c.ReaderAt.ReadAt(b, at)
}

// An upload that fails in the middle leaves the file as it was, or none; the next
// succeeds.
func TestCutOff(t *testing.T) {
	server := s3server.Start(t)
	place := t.TempDir()
	for kind, destination := range map[string]string{"directory": place, "bucket": "s3://" + server.Bucket} {
		t.Run(kind, func(t *testing.T) {
			s, err := store.Open(destination, server.Get)
			qt.Assert(t, qt.IsNil(err))
			b := content(40<<20, 1)
			o, err := store.Of(bytes.NewReader(b))
			qt.Assert(t, qt.IsNil(err))
			for _, name := range []string{"new.parquet", "old.parquet"} {
				var before store.Object
				if name == "old.parquet" {
					before = put(t, s, name, content(1000, 2))
				}
				err := s.Put(t.Context(), name, cutOff{bytes.NewReader(b), 33 << 20}, o)
				qt.Assert(t, qt.ErrorIs(err, errCutOff))
				got, err := s.Stat(t.Context(), name)
				if name == "new.parquet" {
					qt.Check(t, qt.ErrorIs(err, fs.ErrNotExist))
				} else {
					qt.Check(t, qt.IsNil(err))
					qt.Check(t, qt.Equals(got, before))
				}
				qt.Check(t, qt.Equals(put(t, s, name, b), o))
			}
		})
	}
	entries, err := os.ReadDir(place)
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.HasLen(entries, 2), qt.Commentf("something is left over"))
}

// A file that is not what it was said to be is not kept.
func TestChangedFile(t *testing.T) {
	s, err := store.Open(t.TempDir(), noEnv)
	qt.Assert(t, qt.IsNil(err))
	o, err := store.Of(strings.NewReader("what was read first"))
	qt.Assert(t, qt.IsNil(err))
	err = s.Put(t.Context(), "x", strings.NewReader("what was read later"), o)
	qt.Assert(t, qt.ErrorMatches(err, "the file has changed while it was read"))
	_, err = s.Stat(t.Context(), "x")
	qt.Check(t, qt.ErrorIs(err, fs.ErrNotExist))
}

// A directory keeps to itself.
func TestDirectoryStays(t *testing.T) {
	place, outside := t.TempDir(), t.TempDir()
	qt.Assert(t, qt.IsNil(os.Symlink(outside, filepath.Join(place, "steps"))))
	s, err := store.Open(place, noEnv)
	qt.Assert(t, qt.IsNil(err))
	o, err := store.Of(strings.NewReader("x"))
	qt.Assert(t, qt.IsNil(err))
	for _, name := range []string{"steps/x", "../x"} {
		qt.Check(t, qt.IsNotNil(s.Put(t.Context(), name, strings.NewReader("x"), o)))
	}
	entries, err := os.ReadDir(outside)
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.HasLen(entries, 0))
}

func TestTrouble(t *testing.T) {
	server := s3server.Start(t)
	wrong := func(change map[string]string) func(string) string {
		return func(name string) string {
			if v, ok := change[name]; ok {
				return v
			}
			return server.Get(name)
		}
	}
	for name, c := range map[string]struct {
		destination string
		env         func(string) string
		want        string
	}{
		"no bucket":    {"s3://other", server.Get, "there is no bucket other"},
		"wrong key":    {"s3://" + server.Bucket, wrong(map[string]string{"AWS_SECRET_ACCESS_KEY": "no"}), ".*(signature|denies access).*"},
		"nobody there": {"s3://" + server.Bucket, wrong(map[string]string{"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}), ".*connection refused.*"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := store.Open(c.destination, c.env)
			qt.Assert(t, qt.IsNil(err))
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			err = s.Put(ctx, "x", strings.NewReader("x"), store.Object{Bytes: 1, SHA256: "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"})
			qt.Assert(t, qt.ErrorMatches(err, c.want))
			qt.Check(t, qt.IsFalse(strings.Contains(err.Error(), server.Secret)))
		})
	}
}

func TestDestinations(t *testing.T) {
	for destination, want := range map[string]string{
		"":                             "it is empty",
		"gs://b":                       "there is no scheme gs",
		"dir://relative":               `the path must begin with / \(three slashes in all\)`,
		"s3://":                        "it has no bucket",
		"s3://key:secret@b/p":          "keys do not belong there.*",
		"ftp://key:secret@b/p":         "there is no scheme ftp",
		"s3://b:9000/p":                "a host goes into .*",
		"s3://b?endpoint=localhost":    "its endpoint is not of the form .*",
		"s3://b?endpoint=http://a:b@c": "its endpoint is not of the form .*",
		"s3://b?bucket=c":              "it knows .*, not bucket",
	} {
		_, err := store.Open(destination, noEnv)
		qt.Check(t, qt.ErrorMatches(err, ".* is no destination: "+want+"; name a directory, .*"), qt.Commentf("%s", destination))
		if err != nil {
			qt.Check(t, qt.IsFalse(strings.Contains(err.Error(), "secret")), qt.Commentf("%v", err))
		}
	}
	for destination, want := range map[string]string{
		"/a/b": "/a/b", "dir:///a/b/": "/a/b", "file:///a": "/a", "s3://b/c/?region=r": "s3://b/c", "s3://b": "s3://b",
	} {
		s, err := store.Open(destination, noEnv)
		qt.Assert(t, qt.IsNil(err))
		qt.Check(t, qt.Equals(s.String(), want))
	}
}
