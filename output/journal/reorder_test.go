package journal

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/go-quicktest/qt"
)

// framesOf cuts a journal's file into its header and its frames.
func framesOf(t *testing.T, file []byte) (header []byte, frames [][]byte) {
	t.Helper()
	header = appendFileHeader(nil, 0)
	for rest := file[len(header):]; len(rest) > 0; {
		n := frameHeaderSize + int(binary.LittleEndian.Uint32(rest[4:]))
		frames = append(frames, rest[:n])
		rest = rest[n:]
	}
	return header, frames
}

// Frames that are swapped, doubled or missing are told as damage. No record comes that was
// not written, none twice, and none before one that was written earlier.
func TestReorderedFrames(t *testing.T) {
	const records = 40
	dir := t.TempDir()
	w, err := Create(dirOf(t, dir), Options{})
	qt.Assert(t, qt.IsNil(err))
	for i := range records {
		qt.Assert(t, qt.IsNil(w.Append('E', fmt.Appendf(nil, "record %02d", i))))
		if i%4 == 3 {
			qt.Assert(t, qt.IsNil(w.Flush()))
		}
	}
	qt.Assert(t, qt.IsNil(w.Close()))
	file, err := os.ReadFile(filepath.Join(dir, fileName(0)))
	qt.Assert(t, qt.IsNil(err))
	header, frames := framesOf(t, file)
	qt.Assert(t, qt.HasLen(frames, records/4))
	rng := rand.New(rand.NewPCG(1, 2))
	for n := range 300 {
		order := make([]int, 0, len(frames)+1)
		for i := range frames {
			order = append(order, i)
		}
		i, j := rng.IntN(len(frames)), rng.IntN(len(frames))
		switch n % 3 {
		case 0:
			order[i], order[j] = order[j], order[i]
		case 1:
			order = append(order[:i], append([]int{j}, order[i:]...)...)
		case 2:
			order = append(order[:i], order[i+1:]...)
		}
		mixed := append([]byte(nil), header...)
		same := len(order) == len(frames)
		for at, k := range order {
			same = same && at == k
			mixed = append(mixed, frames[k]...)
		}
		got, damage := readAll(t, journalOf(mixed))
		last := -1
		for _, r := range got {
			var k int
			_, err := fmt.Sscanf(r.payload, "record %d", &k)
			qt.Assert(t, qt.IsNil(err))
			qt.Assert(t, qt.IsTrue(k > last), qt.Commentf("order %v: record %d after %d", order, k, last))
			last = k
		}
		cutAtEnd := len(order) == len(frames)-1 && order[len(order)-1] == len(order)-1 // nobody can know of what would follow
		qt.Assert(t, qt.Equals(len(damage) > 0, !same && !cutAtEnd), qt.Commentf("order %v", order))
	}
}
