package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pmtrace/pmtrace/output/fleet"
	"github.com/pmtrace/pmtrace/output/session"
)

const (
	// backlogEvery is how often sessions that could not be shipped are tried again.
	backlogEvery = 10 * time.Minute
	// leftAlone is how long a journal has not been written to if nobody traces into it:
	// loss counters are, every few seconds.
	leftAlone = time.Minute
)

// backlog ships the sessions beside the one that is traced that are not in the store: the
// store was away when they ended, or pmtrace was killed. Those that never ended are decoded
// first.
type backlog struct {
	app  *app
	opts *traceOptions

	mu    sync.Mutex
	taken map[string]bool // sessions that are traced, or being shipped by their trace

	cancel context.CancelFunc
	done   chan struct{}
}

// beginBacklog begins it, where sessions are shipped at all.
func (a *app) beginBacklog(o *traceOptions) *backlog {
	b := &backlog{app: a, opts: o, taken: map[string]bool{}, done: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	b.cancel = cancel
	go func() {
		defer close(b.done)
		if o.ship.store != nil {
			b.loop(ctx)
		}
	}()
	return b
}

func (b *backlog) end() {
	b.cancel()
	<-b.done
}

// leave keeps a session out, and take lets it in.
func (b *backlog) leave(path string) { b.mark(path, true) }
func (b *backlog) take(path string)  { b.mark(path, false) }

func (b *backlog) mark(path string, taken bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if taken {
		b.taken[path] = true
	} else {
		delete(b.taken, path)
	}
}

func (b *backlog) isTaken(path string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.taken[path]
}

func (b *backlog) loop(ctx context.Context) {
	for {
		if err := b.once(ctx); err != nil && ctx.Err() == nil {
			fmt.Fprintln(b.app.stderr, "pmtrace: sessions of before are not shipped:", oneLine(err))
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(backlogEvery):
		}
	}
}

// once ships what there is; trouble with the store ends it, with one session does not.
func (b *backlog) once(ctx context.Context) error {
	place, err := filepath.Abs(b.opts.place)
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(place)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(place, e.Name())
		if ctx.Err() != nil || !e.IsDir() || !strings.HasPrefix(e.Name(), "session_") || b.isTaken(path) {
			continue
		}
		if err := b.ship(ctx, path); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return nil
}

func (b *backlog) ship(ctx context.Context, path string) error {
	dir, err := session.Open(path)
	if err != nil {
		return nil // no session
	}
	defer dir.Close()
	if isShipped(dir, b.opts.ship.store.String()) {
		return nil
	}
	if ok, err := b.ended(dir); !ok {
		return err
	}
	s := fleet.New(b.opts.ship.store, dir, b.opts.ship.fleet())
	err = s.Finish(ctx)
	var other *fleet.OtherError
	if errors.As(err, &other) || errors.Is(err, fleet.ErrNothing) || errors.Is(err, fleet.ErrUnfinished) {
		return nil // pmtrace ship says more
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(b.app.stderr, "pmtrace: shipped %s of before to %s: %s\n", dir.Path(), b.opts.ship.store, tallied(&s.Tally))
	return b.app.isThere(ctx, s, dir, &b.opts.ship)
}

// ended decodes a session that pmtrace was killed in.
func (b *backlog) ended(dir *session.Dir) (bool, error) {
	_, err := fs.Stat(dir.FS(), session.FileMetadata)
	if err == nil {
		return true, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	newest := time.Time{}
	files, err := fs.ReadDir(dir.FS(), "journal")
	if err != nil || len(files) == 0 {
		return false, nil // nothing to decode
	}
	for _, f := range files {
		if info, err := f.Info(); err == nil && info.ModTime().After(newest) {
			newest = info.ModTime()
		}
	}
	if b.app.world.now().Sub(newest) < leftAlone {
		return false, nil // somebody's
	}
	fmt.Fprintf(b.app.stderr, "pmtrace: decoding %s, which never ended\n", dir.Path())
	if err := b.app.decode(dir.Path(), b.opts.noCSV); err != nil {
		b.app.say(err)
		return false, nil
	}
	return true, nil
}

// fileShipped says in a session where it is complete.
const fileShipped = "shipped.json"

type shippedFile struct {
	To []string `json:"complete_in"`
}

func isShipped(dir *session.Dir, store string) bool {
	return slices.Contains(readShipped(dir).To, store)
}

func readShipped(dir *session.Dir) (s shippedFile) {
	b, err := fs.ReadFile(dir.FS(), fileShipped)
	if err != nil || json.Unmarshal(b, &s) != nil {
		return shippedFile{} // then it is shipped once more: nothing is sent twice
	}
	return s
}

// isThere is the end of a shipment: it is noted in the session, or removes it.
func (a *app) isThere(ctx context.Context, s *fleet.Shipment, dir *session.Dir, o *shipOptions) error {
	if o.remove {
		return a.verifyAndRemove(ctx, s, dir)
	}
	to := readShipped(dir).To
	if store := o.store.String(); !slices.Contains(to, store) {
		to = append(to, store)
	}
	err := dir.Replace(fileShipped, func(w io.Writer) error {
		e := json.NewEncoder(w)
		e.SetIndent("", " ")
		return e.Encode(shippedFile{to})
	})
	if err != nil && !errors.Is(err, os.ErrPermission) { // another user's session may be shipped, too
		return failed("the session was shipped, but that cannot be noted in it", rootCause(err), "")
	}
	return nil
}
