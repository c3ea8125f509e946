package session

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"path"
	"slices"
	"strings"

	"github.com/parquet-go/parquet-go"

	"github.com/pmtrace/pmtrace/decode/record"
)

// tableOf returns the name of the table whose rows are of type T.
func tableOf[T any]() string {
	switch any((*T)(nil)).(type) {
	case *record.ProcessRow:
		return TableProcesses
	case *record.StepRow:
		return TableSteps
	case *record.StepRequestRow:
		return TableStepRequests
	case *record.RequestRow:
		return TableRequests
	case *record.PreemptionRow:
		return TablePreemptions
	case *record.KVUsageRow:
		return TableKVUsage
	case *record.KVBlockRow:
		return TableKVBlocks
	case *record.KVEvictionRow:
		return TableKVEvictions
	case *record.CPUOperationRow:
		return TableCPUOperations
	case *record.GraphRow:
		return TableGraphs
	case *record.GraphLaunchRow:
		return TableGraphLaunches
	case *record.EncoderDecoderRow:
		return TableEncoderDecoder
	case *record.LaunchRow:
		return TableLaunches
	case *record.CopyRow:
		return TableCopies
	case *record.CollectiveRow:
		return TableCollectives
	case *record.GPUSampleRow:
		return TableGPUSamples
	case *record.GPUCounterRow:
		return TableGPUCounters
	case *record.KernelRow:
		return TableKernels
	case *record.KernelWindowRow:
		return TableKernelWindows
	case *record.KernelClassRow:
		return TableKernelClasses
	case *record.MoEActivationRow:
		return TableMoEActivations
	case *record.MoECoselectionRow:
		return TableMoECoselection
	case *record.MoEWeightRow:
		return TableMoEWeights
	case *record.MoEImbalanceRow:
		return TableMoEImbalance
	case *record.HookRow:
		return TableHooks
	case *record.LossRow:
		return TableLosses
	}
	panic(fmt.Sprintf("session: no table of %T", *new(T)))
}

// Rows iterates over the table whose rows are of type T, over all its parts in
// order. A row is valid until the next one; what its pointers point to may be
// kept. A table that is not there has no rows. After an error there are no more.
func Rows[T any](session *Dir) iter.Seq2[*T, error] {
	return Columns[T](session, tableOf[T]())
}

// Columns does so with a table of which T has some columns alone: the others are
// not read.
func Columns[T any](session *Dir, table string) iter.Seq2[*T, error] {
	return rowsOf[T](session, table, nil)
}

// RowsWhere does so with those pages alone of which the caller wants the values that
// a column has in them, by the lowest and the highest. Rows that it does not want may
// be among them.
func RowsWhere[T any](session *Dir, column string, wants func(low, high int64) bool) iter.Seq2[*T, error] {
	return rowsOf[T](session, tableOf[T](), &pageFilter{column, wants})
}

func rowsOf[T any](session *Dir, table string, filter *pageFilter) iter.Seq2[*T, error] {
	return func(yield func(*T, error) bool) {
		parts, err := partsOf(session, table)
		if err != nil {
			yield(nil, err)
			return
		}
		for _, part := range parts {
			more, err := readPart(session, part, filter, yield)
			if err != nil {
				yield(nil, fmt.Errorf("%s: %w", part, err))
				return
			}
			if !more {
				return
			}
		}
	}
}

// partsOf returns the paths of a table's parts in order.
func partsOf(session *Dir, table string) ([]string, error) {
	dir := path.Join("parquet", table)
	entries, err := fs.ReadDir(session.FS(), dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("table %s: %w", table, err)
	}
	var parts []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "part-") && strings.HasSuffix(e.Name(), ".parquet") {
			parts = append(parts, path.Join(dir, e.Name()))
		}
	}
	slices.Sort(parts)
	return parts, nil
}

func readPart[T any](session *Dir, part string, filter *pageFilter, yield func(*T, error) bool) (more bool, err error) {
	f, err := session.openPlain(part)
	if err != nil {
		return false, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return false, err
	}
	file, err := parquet.OpenFile(f, info.Size(), parquet.SkipPageIndex(filter == nil), parquet.ReadBufferSize(pageBytes))
	if err != nil {
		return false, err
	}
	wanted, err := filter.ranges(file)
	if err != nil || len(wanted) == 0 {
		return true, err
	}
	ahead := decodeAhead[T](file, wanted)
	defer ahead.stop()
	for rows := range ahead.full {
		for i := range rows {
			if !yield(&rows[i], nil) {
				return false, nil
			}
		}
		ahead.free <- rows[:batchRows]
	}
	return true, ahead.err
}
