package session

import (
	"errors"
	"io/fs"
	"os"
)

// RemovedError says that somebody has removed what is written to. Writing goes on without an
// error then, to a file that nobody can open any more.
type RemovedError struct{ Path string }

func (e *RemovedError) Error() string { return e.Path + " was removed" }

// Kept returns a *RemovedError unless the directory and a file in it are still there. A
// directory that was moved is.
func (d *Dir) Kept(name string) error {
	if _, err := d.root.Lstat(name); errors.Is(err, fs.ErrNotExist) {
		if d.removed() {
			return &RemovedError{d.path}
		}
		return &RemovedError{d.path + "/" + name}
	}
	return nil
}

// removed says whether the directory is in no other one any more: nothing can be made in it.
func (d *Dir) removed() bool {
	const probe = ".there"
	f, err := d.root.OpenFile(probe, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return errors.Is(err, fs.ErrNotExist)
	}
	f.Close()
	_ = d.root.Remove(probe)
	return false
}
