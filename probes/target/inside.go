package target

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// openInside opens a plain file or a directory of a process by its path inside
// the process. What lies there is the process's own making: links lead no
// further than its root, and nothing else is opened, since opening a FIFO waits
// and opening a device acts.
func (p Proc) openInside(pid int, path string) (*os.File, error) {
	root, err := unix.Open(p.path(pid, "root"), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, procError(pid, err)
	}
	defer unix.Close(root)
	found, err := unix.Openat2(root, filepath.Clean("/"+path), &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return nil, &os.PathError{Op: "openat2", Path: path, Err: err}
	}
	defer unix.Close(found)
	var st unix.Stat_t
	if err := unix.Fstat(found, &st); err != nil {
		return nil, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	if kind := st.Mode & unix.S_IFMT; kind != unix.S_IFREG && kind != unix.S_IFDIR {
		return nil, fmt.Errorf("%s: %w: neither a file nor a directory", path, ErrMalformed)
	}
	// The very one that was looked at. Some files of /proc wait for more.
	return os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", found), os.O_RDONLY|unix.O_NONBLOCK, 0)
}

// namesInside lists a directory of a process, in order: the names that keep
// accepts.
func (p Proc) namesInside(pid int, dir string, keep func(name string) bool) []string {
	d, err := p.openInside(pid, dir)
	if err != nil {
		return nil
	}
	defer d.Close()
	names, _ := d.Readdirnames(maxNames)
	names = slices.DeleteFunc(names, func(n string) bool { return !keep(n) })
	slices.Sort(names)
	return names
}

func (p Proc) isDirInside(pid int, dir string) bool {
	d, err := p.openInside(pid, dir)
	if err != nil {
		return false
	}
	defer d.Close()
	fi, err := d.Stat()
	return err == nil && fi.IsDir()
}

func isDistInfo(name string) bool { return strings.HasSuffix(name, ".dist-info") }

func isPythonLib(name string) bool { return strings.HasPrefix(name, "python3.") }
