package session

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// openPlain opens a file for reading. What others put in a session's directory may be
// something whose opening never returns (a FIFO): only a plain file or a directory is taken.
func (d *Dir) openPlain(name string) (*os.File, error) {
	f, err := d.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() && !info.IsDir() {
		err = &fs.PathError{Op: "open", Path: name, Err: fmt.Errorf("it is no plain file (%s)", info.Mode().Type())}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// plainFS is a directory for reading plain files.
type plainFS struct{ dir *Dir }

func (p plainFS) Open(name string) (fs.File, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	return p.dir.openPlain(name)
}

// RemoveAll removes what is inside under a name; of a link the link itself.
func (d *Dir) RemoveAll(name string) error { return d.removeAll(name) }

// Rename gives what is inside another name inside.
func (d *Dir) Rename(from, to string) error {
	if err := d.root.Rename(from, to); err != nil {
		return notWritable(d.path, err)
	}
	return nil
}

// give makes the directory the owner's. By its descriptor: under its name there may be
// something else by now.
func (d *Dir) give() error {
	if os.Geteuid() != 0 {
		return nil
	}
	f, err := d.root.Open(".")
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Chown(d.owner.UID, d.owner.GID)
}
