package render

import (
	"errors"
	"io"

	"github.com/pmtrace/pmtrace/output/session"
)

// Options say what of a session is shown.
type Options struct {
	Window   Window
	Requests int // tracks of requests at most
}

// Shown says what became of it.
type Shown struct {
	Requests int // with a track
	LeftOut  int // requests in the window without one
}

// Perfetto writes a session as a trace of Perfetto's. Rows are read in the order
// of their tables and written one by one: Perfetto sorts by time itself.
func Perfetto(w io.Writer, dir *session.Dir, origin session.Origin, o Options) (Shown, error) {
	t := newTrace(w, origin.MonoNS, o.Window)
	t.begin(origin.WallNS)
	var shown Shown
	err := errors.Join(
		t.steps(dir),
		t.replays(dir),
		t.kernels(dir),
		t.windows(dir),
		t.components(dir),
		t.collectives(dir),
		t.operations(dir),
		t.hooks(dir),
		t.samples(dir),
		t.requests(dir, o.Requests, &shown),
	)
	return shown, errors.Join(err, t.close())
}

// each calls do with every row of a table, until writing fails.
func each[T any](t *trace, dir *session.Dir, do func(*T)) error {
	for row, err := range session.Rows[T](dir) {
		if err != nil {
			return err
		}
		if t.err != nil {
			return nil // close returns it
		}
		do(row)
	}
	return nil
}
