package journal

import (
	"bytes"
	"io"
	"io/fs"
)

// input is a window on a file that is read once from the beginning.
type input struct {
	name   string
	file   fs.File
	offset int64  // of the window's first byte
	window []byte // read and not yet passed
	buf    []byte
	err    error // why there is no more
}

func (in *input) isOpen() bool { return in.file != nil }

func (in *input) open(dir fs.FS, name string) error {
	in.name, in.offset, in.window, in.err = name, 0, nil, nil
	file, err := dir.Open(name)
	if err != nil {
		return err
	}
	in.file = file
	return nil
}

func (in *input) close() error {
	if in.file == nil {
		return nil
	}
	err := in.file.Close()
	in.file = nil
	return err
}

// peek returns the next n bytes, or those that are left and the reason. Memory
// grows with what was really there, not with n.
func (in *input) peek(n int) ([]byte, error) {
	for len(in.window) < n && in.err == nil {
		in.fill()
	}
	if len(in.window) < n {
		return in.window, in.err
	}
	return in.window[:n], nil
}

const readSize = 256 << 10

func (in *input) fill() {
	if cap(in.buf)-len(in.window) < readSize {
		in.buf = make([]byte, max(2*len(in.window), 2*readSize))
	}
	have := copy(in.buf, in.window)
	n, err := in.file.Read(in.buf[have : have+readSize])
	in.window = in.buf[:have+n]
	if err == nil && n == 0 {
		err = io.ErrNoProgress
	}
	in.err = err
}

// again reads on at the end of a file that may have grown.
func (in *input) again() { in.err = nil }

func (in *input) skip(n int) {
	in.window = in.window[n:]
	in.offset += int64(n)
}

// find passes over at least one byte, up to the next place where magic is, or
// to the end.
func (in *input) find(magic string) error {
	if len(in.window) > 0 {
		in.skip(1)
	}
	for {
		if i := bytes.Index(in.window, []byte(magic)); i >= 0 {
			in.skip(i)
			return nil
		}
		in.skip(max(0, len(in.window)-len(magic)+1))
		if in.err != nil {
			in.skip(len(in.window))
			return in.err
		}
		in.fill()
	}
}
