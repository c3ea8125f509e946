package session

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// DefaultPlace is where sessions go unless somebody says otherwise.
const DefaultPlace = "/tmp/vllm_profiling"

// Place returns the directory that sessions go to: flag, then the environment,
// pmtrace's own before profilemate's, then DefaultPlace.
func Place(flag string, getenv func(string) string) string {
	for _, place := range []string{flag, getenv("PMTRACE_OUTPUT_DIR"), getenv("VLLM_PROFILING_DIR")} {
		if place != "" {
			return place
		}
	}
	return DefaultPlace
}

// Owner is who gets the files.
type Owner struct{ UID, GID int }

// Invoker returns the user who asked: the one who called sudo, else the
// effective user.
func Invoker(getenv func(string) string) Owner {
	owner := Owner{os.Geteuid(), os.Getegid()}
	if owner.UID != 0 {
		return owner
	}
	uid, uerr := strconv.ParseUint(getenv("SUDO_UID"), 10, 31)
	gid, gerr := strconv.ParseUint(getenv("SUDO_GID"), 10, 31)
	if uerr != nil || gerr != nil {
		return owner
	}
	return Owner{int(uid), int(gid)}
}

// DirError says why a directory cannot hold a session, in one line.
type DirError struct {
	Path    string
	Problem string
	Remedy  string
	Err     error
}

func (e *DirError) Error() string {
	s := "cannot write to " + e.Path + ": " + e.Problem
	if e.Remedy != "" {
		s += "; " + e.Remedy
	}
	return s
}

func (e *DirError) Unwrap() error { return e.Err }

const elsewhere = "choose another directory with --output-dir"

// Dir is an open directory of a session. Names are resolved below it only, so
// that nothing put in their way leads elsewhere.
type Dir struct {
	path  string
	root  *os.Root
	owner Owner
}

// Create makes a new session directory in place, named for the time, and opens
// it. Its name is the session's id.
func Create(place string, now time.Time, owner Owner) (*Dir, error) {
	place, err := filepath.Abs(place)
	if err != nil {
		return nil, &DirError{place, err.Error(), elsewhere, err}
	}
	parent, err := openPlace(place, owner)
	if err != nil {
		return nil, err
	}
	defer parent.Close()
	base := now.Format("session_20060102_150405")
	name := base
	for n := 2; ; n++ {
		err = parent.root.Mkdir(name, 0o700)
		if !errors.Is(err, fs.ErrExist) {
			break
		}
		name = base + "_" + strconv.Itoa(n)
	}
	if err != nil {
		return nil, notWritable(place, err)
	}
	return parent.enter(name)
}

// OpenPlace opens the directory that sessions go to, and makes it where it is missing.
func OpenPlace(place string, owner Owner) (*Dir, error) {
	place, err := filepath.Abs(place)
	if err != nil {
		return nil, &DirError{place, err.Error(), elsewhere, err}
	}
	return openPlace(place, owner)
}

// Open opens a session directory that exists.
func Open(path string) (*Dir, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, fmt.Errorf("open session %s: %w", path, cause(err))
	}
	info, err := root.Stat(".")
	if err != nil {
		root.Close()
		return nil, fmt.Errorf("open session %s: %w", path, cause(err))
	}
	// What decode writes belongs to the session's owner.
	return &Dir{path, root, ownerOf(info)}, nil
}

// openPlace opens the directory that sessions go to and makes what is missing
// of it.
//
// Where anybody may make names (/tmp), a name that is a link, or a directory of
// somebody else's, was perhaps laid out to catch root's files: refused.
func openPlace(place string, owner Owner) (*Dir, error) {
	shared := false // the parent is open to everybody
	path := "/"
	parts := strings.Split(strings.Trim(place, "/"), "/")
	guarded := false
	for i := 0; ; i++ {
		info, err := os.Stat(path)
		if err != nil {
			return nil, notWritable(place, err)
		}
		if !info.IsDir() {
			return nil, &DirError{place, path + " is not a directory", elsewhere, nil}
		}
		shared = info.Mode().Perm()&0o002 != 0
		if i == len(parts) || parts[i] == "" {
			break
		}
		path = filepath.Join(path, parts[i])
		info, err = os.Lstat(path)
		if errors.Is(err, fs.ErrNotExist) {
			if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
				return nil, notWritable(place, err)
			}
			if err := own(path, owner); err != nil {
				return nil, notWritable(place, err)
			}
			info, err = os.Lstat(path)
		}
		if err != nil {
			return nil, notWritable(place, err)
		}
		if shared {
			guarded = true
			if info.Mode()&fs.ModeSymlink != 0 {
				return nil, &DirError{place, path + " is a link in a directory open to everybody", "remove it, or " + elsewhere, nil}
			}
			if err := checkOwner(place, path, info, owner); err != nil {
				return nil, err
			}
		}
	}
	root, err := os.OpenRoot(place)
	if err != nil {
		return nil, notWritable(place, err)
	}
	dir := &Dir{place, root, owner}
	if guarded && !shared {
		// The same once more on what was really opened.
		info, err := root.Stat(".")
		if err == nil {
			err = checkOwner(place, place, info, owner)
		}
		if err != nil {
			root.Close()
			return nil, err
		}
	}
	return dir, nil
}

func checkOwner(place, path string, info fs.FileInfo, owner Owner) error {
	if uid := ownerOf(info).UID; uid != owner.UID && uid != os.Geteuid() && uid != 0 {
		return &DirError{place, fmt.Sprintf("%s belongs to another user (uid %d)", path, uid), elsewhere, nil}
	}
	return nil
}

func ownerOf(info fs.FileInfo) Owner {
	stat := info.Sys().(*syscall.Stat_t)
	return Owner{int(stat.Uid), int(stat.Gid)}
}

func own(path string, owner Owner) error {
	if os.Geteuid() != 0 {
		return nil
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Chown(owner.UID, owner.GID)
}

func notWritable(place string, err error) error {
	return &DirError{place, cause(err).Error(), elsewhere, err}
}

// cause strips the operation and the path, which the message has already.
func cause(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

// Path returns the directory's path.
func (d *Dir) Path() string { return d.path }

// Name returns the last part of the path: of a session, its id.
func (d *Dir) Name() string { return filepath.Base(d.path) }

// FS returns the directory for reading.
func (d *Dir) FS() fs.FS { return plainFS{d} }

// Close closes the directory; files opened from it stay open.
func (d *Dir) Close() error { return d.root.Close() }

// Sub opens a directory inside, and makes it if it is missing.
func (d *Dir) Sub(name string) (*Dir, error) {
	if err := d.root.Mkdir(name, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, notWritable(filepath.Join(d.path, name), err)
	}
	return d.enter(name)
}

// OpenSub opens a directory inside that is there already.
func (d *Dir) OpenSub(name string) (*Dir, error) {
	root, err := d.root.OpenRoot(name)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", filepath.Join(d.path, name), cause(err))
	}
	return &Dir{filepath.Join(d.path, name), root, d.owner}, nil
}

func (d *Dir) enter(name string) (*Dir, error) {
	path := filepath.Join(d.path, name)
	root, err := d.root.OpenRoot(name)
	if err != nil {
		return nil, notWritable(path, err)
	}
	sub := &Dir{path, root, d.owner}
	if err := sub.give(); err != nil {
		root.Close()
		return nil, notWritable(path, err)
	}
	return sub, nil
}

// Create makes a new file; it fails if the name exists, as a link too.
func (d *Dir) Create(name string) (*os.File, error) {
	f, err := d.root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, notWritable(filepath.Join(d.path, name), err)
	}
	if os.Geteuid() == 0 {
		if err := f.Chown(d.owner.UID, d.owner.GID); err != nil {
			f.Close()
			return nil, notWritable(filepath.Join(d.path, name), err)
		}
	}
	return f, nil
}

// Replace writes a file under a hidden name and gives it its own when it is
// complete.
func (d *Dir) Replace(name string, write func(io.Writer) error) error {
	hidden := "." + name + ".tmp"
	if err := d.Remove(hidden); err != nil {
		return err
	}
	f, err := d.Create(hidden)
	if err != nil {
		return err
	}
	err = write(f)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = d.root.Rename(hidden, name)
	}
	if err != nil {
		_ = d.Remove(hidden)
		return notWritable(filepath.Join(d.path, name), err)
	}
	return nil
}

// Remove removes a file, if it is there.
func (d *Dir) Remove(name string) error {
	if err := d.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return notWritable(filepath.Join(d.path, name), err)
	}
	return nil
}

func (d *Dir) removeAll(name string) error {
	if err := d.root.RemoveAll(name); err != nil {
		return notWritable(filepath.Join(d.path, name), err)
	}
	return nil
}
