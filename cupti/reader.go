package cupti

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pmtrace/pmtrace/decode/record"
)

// maxRings bounds the processes of a server: hdr.engine has a byte for their index.
const maxRings = 255

// maxEntries bounds the files of the directory that are looked at, maxTellings how often a
// process's status is told.
const (
	maxEntries  = 1024
	maxTellings = 32
)

// patience is how long a file may be without a header.
const patience = 5 * time.Second

// Reader reads the rings in a directory. Not for use by several goroutines at once.
type Reader struct {
	root    *os.Root
	session uint64
	rings   []*ring
	seen    map[string]time.Time // files that are no rings yet; zero: never will be
	refused uint64               // files
	now     func() time.Time
}

// Open opens the directory in which recorded processes make their rings.
func Open(dir string, session uint64) (*Reader, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return &Reader{root: root, session: session, seen: map[string]time.Time{}, now: time.Now}, nil
}

// Look finds new rings and hands on what the statuses have become, as facts.
func (r *Reader) Look() []record.Fact {
	r.find()
	var out []record.Fact
	for _, ring := range r.rings {
		if told := ring.told(); told != nil {
			out = append(out, record.Fact{Injected: told})
		}
	}
	return out
}

func (r *Reader) find() {
	list, err := r.entries()
	if err != nil {
		return
	}
	for _, e := range list {
		name := e.Name()
		first, tried := r.seen[name]
		if !strings.HasSuffix(name, ".ring") || tried && first.IsZero() || len(r.rings) >= maxRings {
			continue
		}
		ring, err := openRing(r.root, name, r.session)
		switch {
		case err == nil:
			ring.index = uint8(len(r.rings))
			r.rings = append(r.rings, ring)
			r.seen[name] = time.Time{}
		case errors.Is(err, errNotYet) && !tried:
			r.seen[name] = r.now()
		case errors.Is(err, errNotYet) && r.now().Sub(first) < patience:
		default:
			r.seen[name] = time.Time{}
			r.refused++
		}
	}
}

// entries are the first of the directory's, whatever a process has put there.
func (r *Reader) entries() ([]fs.DirEntry, error) {
	dir, err := r.root.Open(".")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	list, err := dir.ReadDir(maxEntries)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return list, err
}

// told is the ring's status as a fact, where it is not as told before.
func (r *ring) told() *record.Injected {
	s := r.status
	s.Lost, s.Records = [losses]uint64{}, 0 // these are no news
	if s.State == Ended && !r.drained {
		s.State = Running // its end comes behind what it has told
	}
	if s == r.known || r.tellings >= maxTellings {
		return nil
	}
	r.known = s
	r.tellings++
	return &record.Injected{
		Ring: int(r.index), PID: s.PID, StartedNS: s.Started, State: s.State.String(), CUPTI: int(s.CUPTI), Library: s.Library,
		Error: s.Error, Why: s.Why, Note: s.Note, Calls: s.Calls, Windows: s.Windows, Always: s.Always, NoWindows: s.NoWindows,
		CopiesInWindows: s.CopiesInWindows, MoE: s.MoE, MoENote: s.MoENote,
	}
}

func (s State) String() string {
	return [...]string{"starting", "running", "ended", "quiet", "failed"}[s]
}

// Drain hands on what the rings hold; stop: it asks the processes for no more. An error
// is the sink's.
func (r *Reader) Drain(stop bool, sink func([]byte) error) error {
	mono := monotonic()
	for _, ring := range r.rings {
		if err := ring.drain(r.now(), mono, stop, sink); err != nil {
			return err
		}
	}
	return nil
}

// Alive tells the processes that we live, while nothing is to be done with what they
// say.
func (r *Reader) Alive() {
	r.find()
	mono := monotonic()
	for _, ring := range r.rings {
		if !ring.gone {
			_, _ = ring.header()
			_ = ring.beat(mono, false)
		}
	}
}

func monotonic() int64 {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &t) // cannot fail
	return t.Nano()
}

// Busy reports whether a process may still have something to tell.
func (r *Reader) Busy() bool {
	return slices.ContainsFunc(r.rings, func(ring *ring) bool {
		return !ring.gone && ring.size > 0 && ring.status.State <= Running && alive(ring.status.PID)
	})
}

func alive(pid int) bool {
	err := unix.Kill(pid, 0)
	return err == nil || errors.Is(err, unix.EPERM)
}

// Losses count what did not reach us, by process.
func (r *Reader) Losses() []record.Loss {
	var out []record.Loss
	add := func(probe, reason string, n uint64) {
		if n > 0 {
			out = append(out, record.Loss{Engine: -1, Probe: probe, Reason: reason, Count: n, Lost: true})
		}
	}
	overwritten := uint64(0)
	for _, ring := range r.rings {
		probe := fmt.Sprintf("cupti/%d", ring.status.PID)
		overwritten += ring.status.Lost[lostMoE]
		for i, name := range lossNames {
			if name != "" && i != lostMoE {
				add(probe, name, ring.status.Lost[i])
			}
		}
		add(probe, "damaged", ring.damaged)
		add(probe, "foreign_event", ring.foreign)
	}
	add("moe", lossNames[lostMoE], overwritten)
	add("cupti", "no_ring", r.refused)
	return out
}

// Close closes the rings and removes their files: who has one mapped keeps it.
func (r *Reader) Close() error {
	var errs []error
	for _, ring := range r.rings {
		errs = append(errs, ring.file.Close())
		if err := r.root.Remove(ring.name); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(append(errs, r.root.Close())...)
}
