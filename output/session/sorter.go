package session

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"errors"
	"io"
	"maps"
	"os"
	"slices"
)

// sortInMemory is how many bytes of lines a lineSorter holds before it writes
// them aside.
const sortInMemory = 4 << 20

// lineSorter puts lines in the order of their times with bounded memory: runs
// that were sorted in memory lie in a nameless file and are merged at the end.
type lineSorter struct {
	dir   *Dir
	name  string
	lines []timedLine
	held  int
	n     int64
	file  *os.File
	runs  []int64 // where each ends
}

func newLineSorter(dir *Dir, name string) *lineSorter { return &lineSorter{dir: dir, name: name} }

func (s *lineSorter) add(at int64, text []byte) error {
	s.lines = append(s.lines, timedLine{at, s.n, slices.Clone(text)})
	s.n++
	s.held += len(text) + 64
	if s.held < sortInMemory {
		return nil
	}
	return s.spill()
}

func (s *lineSorter) spill() error {
	if s.file == nil {
		if err := s.dir.Remove(s.name); err != nil {
			return err
		}
		f, err := s.dir.Create(s.name)
		if err != nil {
			return err
		}
		s.file = f
		if err := s.dir.Remove(s.name); err != nil {
			return err
		}
	}
	slices.SortFunc(s.lines, timedLine.compare)
	w := bufio.NewWriter(s.file)
	var head []byte
	for _, l := range s.lines {
		head = binary.AppendVarint(head[:0], l.at)
		head = binary.AppendVarint(head, l.n)
		head = binary.AppendUvarint(head, uint64(len(l.text)))
		_, _ = w.Write(head) // Flush returns the error of any
		_, _ = w.Write(l.text)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	end, err := s.file.Seek(0, io.SeekCurrent)
	s.runs = append(s.runs, end)
	s.lines, s.held = s.lines[:0], 0
	return err
}

// each calls f with every line in order and lets go of all.
func (s *lineSorter) each(f func(text []byte) error) error {
	slices.SortFunc(s.lines, timedLine.compare)
	sources := []func() (timedLine, error){s.inMemory()}
	if s.file != nil {
		defer s.file.Close()
		begin := int64(0)
		for _, end := range s.runs {
			sources = append(sources, run(bufio.NewReader(io.NewSectionReader(s.file, begin, end-begin))))
			begin = end
		}
	}
	// Few runs: a linear search for the earliest line will do.
	heads := make([]timedLine, len(sources))
	for i, next := range sources {
		var err error
		if heads[i], err = next(); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
	}
	for {
		first := -1
		for i, h := range heads {
			if h.text != nil && (first < 0 || h.compare(heads[first]) < 0) {
				first = i
			}
		}
		if first < 0 {
			return nil
		}
		if err := f(heads[first].text); err != nil {
			return err
		}
		var err error
		if heads[first], err = sources[first](); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
	}
}

func (s *lineSorter) inMemory() func() (timedLine, error) {
	rest := s.lines
	return func() (timedLine, error) {
		if len(rest) == 0 {
			return timedLine{}, io.EOF
		}
		l := rest[0]
		rest = rest[1:]
		return l, nil
	}
}

func run(r *bufio.Reader) func() (timedLine, error) {
	return func() (timedLine, error) {
		at, err := binary.ReadVarint(r)
		if err != nil {
			return timedLine{}, err
		}
		n, err := binary.ReadVarint(r)
		if err != nil {
			return timedLine{}, err
		}
		size, err := binary.ReadUvarint(r)
		if err != nil {
			return timedLine{}, err
		}
		text := make([]byte, size)
		_, err = io.ReadFull(r, text)
		return timedLine{at, n, text}, err
	}
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
