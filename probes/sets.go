package probes

import (
	"slices"

	"github.com/pmtrace/pmtrace/decode/wire"
)

// RowsOf are the rows of sets, for Calls.Record.
func RowsOf(sets ...Set) []wire.Row {
	var out []wire.Row
	for _, r := range Rows() {
		if slices.Contains(sets, r.Set) && !slices.Contains(out, r.Row) {
			out = append(out, r.Row)
		}
	}
	return out
}
