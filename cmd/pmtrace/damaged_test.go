package main

import (
	"bytes"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-quicktest/qt"
)

// A recorded journal with a flipped bit, cut off, or with its parts in another order: decode
// says what is damaged and makes tables of the rest, or says that nothing is left.
func TestDamagedJournals(t *testing.T) {
	whole, err := os.ReadFile(filepath.Join("testdata", "recorded", "h200-pressure", "journal", "00000.pmj"))
	qt.Assert(t, qt.IsNil(err))
	rng := rand.New(rand.NewPCG(3, 4))
	harms := map[string]func() []byte{
		"flip": func() []byte {
			b := bytes.Clone(whole)
			b[rng.IntN(len(b))] ^= byte(1 << rng.IntN(8))
			return b
		},
		"cut": func() []byte { return bytes.Clone(whole[:rng.IntN(len(whole))]) },
		"move": func() []byte {
			b := bytes.Clone(whole)
			n := 1 + rng.IntN(len(b)/4)
			from, to := rng.IntN(len(b)-n), rng.IntN(len(b)-n)
			copy(b[to:to+n], whole[from:from+n])
			return b
		},
		"swap": func() []byte {
			at := rng.IntN(len(whole))
			return append(bytes.Clone(whole[at:]), whole[:at]...)
		},
	}
	for kind, harm := range harms {
		decoded := 0
		for range 8 {
			bad := harm()
			path := filepath.Join(t.TempDir(), "session_damaged")
			qt.Assert(t, qt.IsNil(os.MkdirAll(filepath.Join(path, "journal"), 0o700)))
			qt.Assert(t, qt.IsNil(os.WriteFile(filepath.Join(path, "journal", "00000.pmj"), bad, 0o600)))
			var stderr strings.Builder
			code := run(t.Context(), []string{"decode", "--no-csv", path}, nil, io.Discard, &stderr, nil)
			said := strings.Contains(stderr.String(), "pmtrace: damaged: ") || strings.Contains(stderr.String(), "its journal is empty")
			qt.Assert(t, qt.IsTrue(code == 0 || code == 1), qt.Commentf("%s: exit code %d: %s", kind, code, stderr.String()))
			qt.Check(t, qt.IsTrue(said || kind == "cut" || bytes.Equal(bad, whole)), qt.Commentf("%s: nothing is said of it: %s", kind, stderr.String()))
			if code == 0 {
				decoded++
			}
		}
		t.Logf("%s: %d of 8 decoded", kind, decoded)
		qt.Check(t, qt.IsTrue(decoded > 0 || kind == "swap"), qt.Commentf(kind))
	}
}
