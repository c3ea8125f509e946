package probes

import (
	"testing"

	"github.com/go-quicktest/qt"
)

func TestParseCPUs(t *testing.T) {
	for text, want := range map[string][]int{"0": {0}, "0-2,5,7-8": {0, 1, 2, 5, 7, 8}} {
		got, err := parseCPUs(text)
		qt.Check(t, qt.IsNil(err))
		qt.Check(t, qt.DeepEquals(got, want))
	}
	for _, text := range []string{"", "a", "0-", "-1", "0-99999999"} {
		_, err := parseCPUs(text)
		qt.Check(t, qt.IsNotNil(err), qt.Commentf("%q", text))
	}
}
