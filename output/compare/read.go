package compare

import (
	"errors"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/session"
)

// ErrNoSteps says that there is nothing to compare.
var ErrNoSteps = errors.New("it has no steps with tokens")

// Read makes a Run of a session.
func Read(dir *session.Dir) (*Run, error) {
	setup, err := readSetup(dir.FS())
	if err != nil {
		return nil, err
	}
	c := newCollector(setup)
	err = errors.Join(
		each(dir, c.step), each(dir, c.request), each(dir, c.cpuOperation),
		each(dir, c.eviction), each(dir, c.kvUsage),
	)
	if err != nil {
		return nil, err
	}
	if !c.began {
		return nil, ErrNoSteps
	}
	r := c.run()
	r.Path = dir.Path()
	return r, nil
}

func each[T record.StepRow | record.RequestRow | record.CPUOperationRow | record.KVEvictionRow | record.KVUsageRow](dir *session.Dir, take func(*T)) error {
	for row, err := range session.Rows[T](dir) {
		if err != nil {
			return err
		}
		take(row)
	}
	return nil
}
