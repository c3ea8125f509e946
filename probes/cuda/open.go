package cuda

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// open opens the very file that is mapped: by its path within the process's root
// if that still is the same, else through map_files, which also reaches what was
// deleted and needs more rights.
func (m mapped) open() (*os.File, error) {
	inside, err := m.openInside()
	if err == nil && !m.isGone && inode(inside) == m.inode {
		return inside, nil
	}
	exact, exactErr := m.openExact()
	if exactErr == nil {
		if inside != nil {
			inside.Close()
		}
		return exact, nil
	}
	if err == nil && !m.isGone {
		return inside, nil // overlay file systems show another inode in maps
	}
	if inside != nil {
		inside.Close()
	}
	return nil, errors.Join(err, exactErr)
}

// openInside follows links no further than the process's root.
func (m mapped) openInside() (*os.File, error) {
	root, err := unix.Open(fmt.Sprintf("/proc/%d/root", m.pid), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(root)
	found, err := unix.Openat2(root, m.path, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return nil, &os.PathError{Op: "openat2", Path: m.path, Err: err}
	}
	defer unix.Close(found)
	return reopen(found, m.path)
}

func (m mapped) openExact() (*os.File, error) {
	name := fmt.Sprintf("/proc/%d/map_files/%x-%x", m.pid, m.start, m.end)
	found, err := unix.Open(name, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	defer unix.Close(found)
	return reopen(found, m.path)
}

// reopen opens what was looked at if it is a plain file: opening a FIFO waits, and
// opening a device acts.
func reopen(found int, name string) (*os.File, error) {
	var st unix.Stat_t
	if err := unix.Fstat(found, &st); err != nil {
		return nil, &os.PathError{Op: "stat", Path: name, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, fmt.Errorf("%s is no plain file", name)
	}
	return os.Open(fmt.Sprintf("/proc/self/fd/%d", found))
}

func inode(f *os.File) uint64 {
	var st unix.Stat_t
	if unix.Fstat(int(f.Fd()), &st) != nil {
		return 0
	}
	return st.Ino
}
