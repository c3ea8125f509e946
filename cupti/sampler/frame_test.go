package sampler

import (
	"bytes"
	"io"
	"testing"

	"github.com/go-quicktest/qt"
)

func TestFrames(t *testing.T) {
	var b bytes.Buffer
	w := writer{to: &b}
	qt.Assert(t, qt.IsNil(w.write(frameCounters, []byte("abc"))))
	qt.Assert(t, qt.IsNil(w.json(frameEnd, Stats{Samples: 7})))
	qt.Check(t, qt.ErrorMatches(w.write(frameLog, make([]byte, maxFrame+1)), ".*16777217 bytes"))
	whole := bytes.Clone(b.Bytes())

	r := newReader(&b)
	kind, payload, err := r.next()
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(kind, byte(frameCounters)))
	qt.Check(t, qt.Equals(string(payload), "abc"))
	kind, _, err = r.next()
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(kind, byte(frameEnd)))
	_, _, err = r.next()
	qt.Check(t, qt.Equals(err, io.EOF))

	_, _, err = newReader(bytes.NewReader(whole[:7])).next()
	qt.Check(t, qt.ErrorMatches(err, `frame 'C' cut short.*`))
	_, _, err = newReader(bytes.NewReader([]byte{'C', 1, 0, 0, 1})).next()
	qt.Check(t, qt.ErrorMatches(err, `frame 'C' of 16777217 bytes`))
}

func FuzzFrames(f *testing.F) {
	f.Add([]byte("F\x02\x00\x00\x00{}"))
	f.Fuzz(func(_ *testing.T, b []byte) {
		r := newReader(bytes.NewReader(b))
		for {
			if _, _, err := r.next(); err != nil {
				return
			}
		}
	})
}
