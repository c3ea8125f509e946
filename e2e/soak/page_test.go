package main

import (
	"os"
	"testing"

	"github.com/go-quicktest/qt"
)

// TestPageIsOfTheResults: nobody has edited one of them.
func TestPageIsOfTheResults(t *testing.T) {
	r, err := readResults(".")
	qt.Assert(t, qt.IsNil(err))
	page, err := os.ReadFile("RESULTS.md")
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.Equals(r.page(), string(page)))
}

func TestNumber(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567"} {
		qt.Check(t, qt.Equals(number(n), want))
	}
}
