package inject

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// The environment of a recorded process; c/inject.c says what each means.
const (
	// VariableInjection is CUDA's own.
	VariableInjection = "CUDA_INJECTION64_PATH"

	variableDir      = "PMTRACE_CUPTI_DIR"
	variableProtocol = "PMTRACE_CUPTI_PROTOCOL"
	variableSession  = "PMTRACE_CUPTI_SESSION"
	variableKernels  = "PMTRACE_CUPTI_KERNELS"
	variableRing     = "PMTRACE_CUPTI_RING"
	variableCopies   = "PMTRACE_CUPTI_COPIES"
	variableMoE      = "PMTRACE_CUPTI_MOE"
)

// Protocol is PM_RING_VERSION.
const Protocol = 1

const libraryName = "libpmtrace_cupti.so"

// Kernels says when the GPU's kernels are told one by one: for Window of each Period,
// always where both are the same, never where Window is 0.
type Kernels struct {
	Window, Period time.Duration
}

// String is the form that the library reads.
func (k Kernels) String() string {
	switch {
	case k.Window <= 0:
		return "off"
	case k.Window >= k.Period:
		return "always"
	}
	return strconv.FormatInt(k.Window.Nanoseconds(), 10) + "/" + strconv.FormatInt(k.Period.Nanoseconds(), 10)
}

// Options of New.
type Options struct {
	Candidates []string // directories, the best first
	UID, GID   int      // of the recorded process
	Kernels    Kernels
	// CopiesInWindows: copies are told with the kernels alone; else always.
	CopiesInWindows bool
	RingBytes       int // 0: the library's own
	MoE             bool
	MoEWeights      int // one routing of so many tells its weights as well; 0: none
}

// Injection is the library in its place, and the directory for the rings beside it.
type Injection struct {
	Dir     string
	Session uint64
	opts    Options
}

// NotPossible says why the library cannot be put anywhere.
type NotPossible struct {
	Why, How string
}

func (e *NotPossible) Error() string  { return e.Why }
func (e *NotPossible) Remedy() string { return e.How }

// Candidates are the usual places, the best first.
func Candidates(get func(string) string) []string {
	var out []string
	add := func(dir string, parts ...string) {
		if filepath.IsAbs(dir) {
			out = append(out, filepath.Join(append([]string{dir}, parts...)...))
		}
	}
	add(get("XDG_RUNTIME_DIR"))
	if roomy("/dev/shm") { // it is the server's, too
		add("/dev/shm")
	}
	add("/tmp")
	add(get("HOME"), ".cache")
	add("/var/tmp")
	if here, err := os.Getwd(); err == nil {
		add(here)
	}
	return out
}

// roomy reports whether a file system has much more room than rings need.
func roomy(dir string) bool {
	const enough = 2 << 30
	var f unix.Statfs_t
	return unix.Statfs(dir, &f) == nil && f.Bavail*uint64(f.Bsize) >= enough
}

// New puts the library into a new directory in the first candidate from which the
// process may load code.
func New(o Options) (*Injection, error) {
	if len(library) == 0 {
		return nil, &NotPossible{Why: "there is no library for this architecture"}
	}
	var number [8]byte
	_, _ = rand.Read(number[:]) // never fails
	i := &Injection{Session: binary.LittleEndian.Uint64(number[:]), opts: o}
	var errs []error
	for _, candidate := range o.Candidates {
		dir, err := place(candidate, o.UID, o.GID)
		if err == nil {
			i.Dir = dir
			return i, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", candidate, err))
	}
	return nil, &NotPossible{
		Why: "no directory is there that the server's user may write to and load code from: " + oneLine(errs),
		How: "set XDG_RUNTIME_DIR to such a directory",
	}
}

func oneLine(errs []error) string {
	s := ""
	for i, err := range errs {
		if i > 0 {
			s += "; "
		}
		s += err.Error()
	}
	return s
}

var (
	errNoExec   = errors.New("mounted noexec")
	errNoAccess = errors.New("not open to the server's user")
	errReplaced = errors.New("somebody puts other directories in the place of ours")
)

func place(candidate string, uid, gid int) (string, error) {
	if err := usable(candidate, uid, gid); err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(candidate, "pmtrace-cupti-")
	if err != nil {
		return "", rootCause(err)
	}
	if err := fill(dir, uid, gid); err != nil {
		os.RemoveAll(dir)
		return "", rootCause(err)
	}
	return dir, nil
}

func rootCause(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// usable: code may be mapped from there, and the user may pass each directory on the way.
func usable(dir string, uid, gid int) error {
	var f unix.Statfs_t
	if err := unix.Statfs(dir, &f); err != nil {
		return err
	}
	if f.Flags&unix.ST_NOEXEC != 0 {
		return errNoExec
	}
	for at := filepath.Clean(dir); ; at = filepath.Dir(at) {
		var st unix.Stat_t
		if err := unix.Stat(at, &st); err != nil {
			return err
		}
		search := uint32(unix.S_IXOTH)
		switch {
		case int(st.Uid) == uid:
			search = unix.S_IXUSR
		case int(st.Gid) == gid:
			search = unix.S_IXGRP
		}
		if uid != 0 && st.Mode&search == 0 {
			return errNoAccess
		}
		if at == filepath.Dir(at) {
			return nil
		}
	}
}

// fill gives the directory to the user alone: the library, which is ours and not to be
// written by anybody, and room for the rings.
func fill(dir string, uid, gid int) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	// In a directory of the user's another may lie under the name by now: what was opened
	// counts, and has to be the one that we made.
	self, err := root.Open(".")
	if err != nil {
		return err
	}
	defer self.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(self.Fd()), &st); err != nil {
		return err
	}
	if int(st.Uid) != os.Geteuid() || st.Mode&0o777 != 0o700 {
		return errReplaced
	}
	f, err := root.OpenFile(libraryName, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o700)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(library); err != nil {
		return err
	}
	if err := f.Chmod(0o555); err != nil { // whatever the umask
		return err
	}
	if err := f.Close(); err != nil { // no one may be writing to what is executed
		return err
	}
	if uid == os.Geteuid() {
		return nil
	}
	return self.Chown(uid, gid)
}

// Library is where the library lies.
func (i *Injection) Library() string { return filepath.Join(i.Dir, libraryName) }

// Environment is what the process needs in its environment.
func (i *Injection) Environment() map[string]string {
	e := map[string]string{
		VariableInjection: i.Library(), variableDir: i.Dir, variableProtocol: strconv.Itoa(Protocol),
		variableSession: strconv.FormatUint(i.Session, 10), variableKernels: i.opts.Kernels.String(),
	}
	if i.opts.CopiesInWindows {
		e[variableCopies] = "windows"
	}
	if i.opts.MoE {
		e[variableMoE] = "1/" + strconv.Itoa(i.opts.MoEWeights)
	}
	if i.opts.RingBytes > 0 {
		e[variableRing] = strconv.Itoa(i.opts.RingBytes)
	}
	return e
}

// Remove takes the directory away. A process that has the library or a ring mapped
// keeps what it has.
func (i *Injection) Remove() error { return os.RemoveAll(i.Dir) }
