package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
)

// directory is a store in a file system, a mounted one as well.
type directory struct{ path string }

func newDirectory(name string) (*directory, error) {
	abs, err := filepath.Abs(name)
	if err != nil {
		return nil, &DestinationError{name, err.Error()}
	}
	return &directory{abs}, nil
}

func (d *directory) String() string { return d.path }

// open opens the directory, and makes it. Names are resolved below it only.
func (d *directory) open() (*os.Root, error) {
	if err := os.MkdirAll(d.path, 0o750); err != nil {
		return nil, err
	}
	return os.OpenRoot(d.path)
}

// Put writes beside the name, with a name that no reader of Parquet takes for a table's,
// and renames when all is on the disk.
func (d *directory) Put(ctx context.Context, name string, content io.ReaderAt, o Object) error {
	root, err := d.open()
	if err != nil {
		return err
	}
	defer root.Close()
	if err := root.MkdirAll(path.Dir(name), 0o750); err != nil {
		return err
	}
	hidden := path.Join(path.Dir(name), "."+path.Base(name)+".tmp")
	if err := root.Remove(hidden); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := root.OpenFile(hidden, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	written, err := Of(io.TeeReader(&cancellable{ctx, io.NewSectionReader(content, 0, o.Bytes)}, f))
	if err == nil && written != o {
		err = errChanged
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = root.Rename(hidden, name)
	}
	if err != nil {
		_ = root.Remove(hidden) // the first error says more
		return err
	}
	return syncDir(root, path.Dir(name))
}

var errChanged = errors.New("the file has changed while it was read")

// syncDir makes a rename survive a power cut.
func syncDir(root *os.Root, name string) error {
	f, err := root.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// Stat reads the whole file: what is on a disk may have rotted.
func (d *directory) Stat(ctx context.Context, name string) (Object, error) {
	r, err := d.Get(ctx, name)
	if err != nil {
		return Object{}, err
	}
	defer r.Close()
	return Of(r)
}

func (d *directory) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	f, err := os.OpenInRoot(d.path, name)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		f.Close()
		return nil, fmt.Errorf("%s is not a file", name)
	}
	return &cancellableFile{cancellable{ctx, f}, f}, nil
}

func (d *directory) Remove(_ context.Context, name string) error {
	root, err := d.open()
	if err != nil {
		return err
	}
	defer root.Close()
	if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// cancellable reads until its context ends: a mounted store may be slow.
type cancellable struct {
	ctx context.Context
	r   io.Reader
}

func (c *cancellable) Read(b []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(b)
}

type cancellableFile struct {
	cancellable
	f *os.File
}

func (c *cancellableFile) Close() error { return c.f.Close() }
