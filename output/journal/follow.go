package journal

import (
	"errors"
	"io"
	"io/fs"
	"slices"
)

// Follow opens a journal that is being written, maybe by another process, whom it does
// not disturb. Where Next returns io.EOF there is nothing more yet: it may be called
// again later.
func Follow(dir fs.FS) (*Reader, error) {
	r, err := Open(dir)
	if err != nil {
		return nil, err
	}
	r.follow = true
	return r, nil
}

// grows reports whether what is missing at the end of the file, as err has it, may yet
// be written: no file after it is known. The file is then read on.
func (r *Reader) grows(err error) bool {
	if !r.follow || !errors.Is(err, io.EOF) || len(r.names) > 0 {
		return false
	}
	r.in.again()
	return true
}

// newer looks for files after the one that was begun last. A writer begins one when that
// is complete: what is left of it, written since its end was met, is read before.
func (r *Reader) newer() bool {
	if !r.follow {
		return false
	}
	names, err := fileNames(r.dir)
	if err != nil {
		return false // the next look will tell
	}
	r.names = slices.DeleteFunc(names, func(name string) bool { return r.last != "" && byNumber(name, r.last) <= 0 })
	return len(r.names) > 0
}
