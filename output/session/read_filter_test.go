package session

import (
	"testing"

	"github.com/go-quicktest/qt"

	"github.com/pmtrace/pmtrace/decode/record"
)

// TestRowsWhere: pages that are passed over have none of the rows that are wanted, and
// most of the others are not read.
func TestRowsWhere(t *testing.T) {
	d := newSession(t)
	tables, err := CreateTables(d, About{})
	qt.Assert(t, qt.IsNil(err))
	const steps, requests = 60_000, 2 // several row groups
	for i := range int64(steps) {
		for uid := range int64(requests) {
			qt.Assert(t, qt.IsNil(tables.StepRequest(&record.StepRequestRow{StepID: i, RequestUID: uid + i/100, Computed: new(int32(i))})))
		}
	}
	qt.Assert(t, qt.IsNil(tables.Close()))
	for _, c := range []struct{ from, to int64 }{{0, 0}, {100, 4000}, {32_700, 32_800}, {59_999, 70_000}, {70_000, 80_000}, {0, steps}} {
		within, all := 0, 0
		last := int64(-1)
		for r, err := range RowsWhere[record.StepRequestRow](d, "step_id", func(low, high int64) bool { return high >= c.from && low <= c.to }) {
			qt.Assert(t, qt.IsNil(err))
			qt.Assert(t, qt.IsTrue(r.StepID >= last))
			qt.Assert(t, qt.Equals(int64(*r.Computed), r.StepID))
			last = r.StepID
			all++
			if r.StepID >= c.from && r.StepID <= c.to {
				within++
			}
		}
		want := int(requests * max(0, min(c.to, steps-1)-c.from+1))
		at := qt.Commentf("%+v: %d of %d", c, within, all)
		qt.Check(t, qt.Equals(within, want), at)
		qt.Check(t, qt.IsTrue(all <= want+40_000), at)
	}
	for _, err := range RowsWhere[record.StepRequestRow](d, "nothing", nil) {
		qt.Check(t, qt.ErrorMatches(err, ".*there is no column nothing"))
	}
}

// TestColumns: a row may have some of a table's columns alone.
func TestColumns(t *testing.T) {
	d := newSession(t)
	tables, err := CreateTables(d, About{})
	qt.Assert(t, qt.IsNil(err))
	for i := range int64(1000) {
		qt.Assert(t, qt.IsNil(tables.Kernel(&record.KernelRow{TimeNS: i, DurNS: 2 * i, Name: "k", Class: new("gemm")})))
	}
	qt.Assert(t, qt.IsNil(tables.Close()))
	n, sum := 0, int64(0)
	for r, err := range Columns[struct {
		DurNS int64   `parquet:"duration_ns"`
		Class *string `parquet:"class,optional"`
	}](d, TableKernels) {
		qt.Assert(t, qt.IsNil(err))
		qt.Assert(t, qt.Equals(*r.Class, "gemm"))
		n, sum = n+1, sum+r.DurNS
		if n == 700 {
			break // ends what is read ahead
		}
	}
	qt.Check(t, qt.Equals(sum, 700*699))
}
