package session

import (
	"errors"
	"io"

	"github.com/parquet-go/parquet-go"
)

// ahead decodes the rows of a part while others before them are looked at.
type ahead[T any] struct {
	full chan []T // closed at the end
	free chan []T
	quit chan struct{}
	err  error // once full is closed
}

// batchesAhead is how many batches there are of a part: one is looked at, one decoded.
const batchesAhead = 3

func decodeAhead[T any](file *parquet.File, wanted []rowRange) *ahead[T] {
	a := &ahead[T]{full: make(chan []T), free: make(chan []T, batchesAhead), quit: make(chan struct{})}
	for range batchesAhead {
		a.free <- make([]T, batchRows)
	}
	go func() {
		defer close(a.full)
		a.err = a.decode(file, wanted)
	}()
	return a
}

// stop ends the decoding, and waits for its end.
func (a *ahead[T]) stop() {
	close(a.quit)
	for range a.full {
	}
}

func (a *ahead[T]) decode(file *parquet.File, wanted []rowRange) error {
	reader := parquet.NewGenericReader[T](file)
	defer reader.Close()
	for _, r := range wanted {
		if r.from > 0 {
			if err := reader.SeekToRow(r.from); err != nil {
				return err
			}
		}
		if more, err := a.read(reader, r.to-r.from); err != nil || !more {
			return err
		}
	}
	return nil
}

// read hands on so many rows; more: they are wanted.
func (a *ahead[T]) read(reader *parquet.GenericReader[T], left int64) (more bool, err error) {
	for left > 0 {
		var rows []T
		select {
		case rows = <-a.free:
		case <-a.quit:
			return false, nil
		}
		clear(rows)
		n, err := reader.Read(rows[:min(left, int64(len(rows)))])
		left -= int64(n)
		select {
		case a.full <- rows[:n]:
		case <-a.quit:
			return false, nil
		}
		switch {
		case errors.Is(err, io.EOF) && left == 0:
			return true, nil
		case errors.Is(err, io.EOF):
			return false, io.ErrUnexpectedEOF
		case err != nil:
			return false, err
		}
	}
	return true, nil
}
