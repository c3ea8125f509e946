package page

import (
	"encoding/csv"
	"fmt"
	"io"
	"iter"
	"reflect"
	"strings"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/session"
)

// mostRows bounds the rows of an answer.
const mostRows = 100_000

// tooManyError says that a stretch has more rows than are handed out at once.
type tooManyError struct{}

func (*tooManyError) Error() string {
	return fmt.Sprintf("there are more than %d rows in this stretch: zoom in, or read the Parquet itself", mostRows)
}

// rowWriter writes the rows of a table in a stretch of time as CSV.
type rowWriter func(dir *session.Dir, w io.Writer, from, to int64) error

// rowTables are the tables whose rows can be had, with the column that says when.
var rowTables = [...]struct {
	name  string
	write rowWriter
}{
	{session.TableSteps, timed[record.StepRow]("start_ns")},
	{session.TableStepRequests, stepRequests},
	{session.TableRequests, timed[record.RequestRow]("first_scheduled_ns")},
	{session.TablePreemptions, timed[record.PreemptionRow]("time_ns")},
	{session.TableKVUsage, timed[record.KVUsageRow]("time_ns")},
	{session.TableKVBlocks, timed[record.KVBlockRow]("time_ns")},
	{session.TableKVEvictions, timed[record.KVEvictionRow]("time_ns")},
	{session.TableCPUOperations, timed[record.CPUOperationRow]("time_ns")},
	{session.TableGraphLaunches, timed[record.GraphLaunchRow]("launch_ns")},
	{session.TableEncoderDecoder, timed[record.EncoderDecoderRow]("time_ns")},
	{session.TableLaunches, timed[record.LaunchRow]("time_ns")},
	{session.TableCopies, timed[record.CopyRow]("time_ns")},
	{session.TableCollectives, timed[record.CollectiveRow]("time_ns")},
	{session.TableGPUSamples, timed[record.GPUSampleRow]("time_ns")},
	{session.TableGPUCounters, timed[record.GPUCounterRow]("time_ns")},
	{session.TableKernels, timed[record.KernelRow]("time_ns")},
	{session.TableHooks, timed[record.HookRow]("time_ns")},
	{session.TableMoEActivations, timed[record.MoEActivationRow]("from_ns")},
	{session.TableLosses, timed[record.LossRow]("from_ns")},
}

func tableNames() []string {
	var names []string
	for _, t := range rowTables {
		names = append(names, t.name)
	}
	return names
}

func rowsOf(table string) rowWriter {
	for _, t := range rowTables {
		if t.name == table {
			return t.write
		}
	}
	return nil
}

// timed writes the rows that have a time in the stretch.
func timed[T any](column string) rowWriter {
	return func(dir *session.Dir, w io.Writer, from, to int64) error {
		at := columnIndex(reflect.TypeFor[T](), column)
		rows := session.RowsWhere[T](dir, column, within(from, to))
		return writeCSV(w, rows, func(row reflect.Value) bool {
			v := row.Field(at)
			if v.Kind() == reflect.Pointer {
				if v.IsNil() {
					return false
				}
				v = v.Elem()
			}
			return v.Int() >= from && v.Int() < to
		})
	}
}

// stepRequests writes the requests of the steps that began in the stretch.
func stepRequests(dir *session.Dir, w io.Writer, from, to int64) error {
	steps := map[int32]map[int64]bool{}
	low, high := int64(0), int64(-1)
	for r, err := range session.RowsWhere[record.StepRow](dir, "start_ns", within(from, to)) {
		if err != nil {
			return err
		}
		if r.StartNS < from || r.StartNS >= to {
			continue
		}
		if steps[r.Engine] == nil {
			steps[r.Engine] = map[int64]bool{}
		}
		if high < low {
			low, high = r.StepID, r.StepID
		}
		steps[r.Engine][r.StepID] = true
		low, high = min(low, r.StepID), max(high, r.StepID)
	}
	rows := session.RowsWhere[record.StepRequestRow](dir, "step_id", within(low, high+1))
	return writeCSV(w, rows, func(row reflect.Value) bool {
		r := row.Addr().Interface().(*record.StepRequestRow)
		return steps[r.Engine][r.StepID]
	})
}

// writeCSV writes the rows that are wanted, with a header. What is not known is empty.
func writeCSV[T any](w io.Writer, rows iter.Seq2[*T, error], wanted func(row reflect.Value) bool) error {
	out := csv.NewWriter(w)
	kind := reflect.TypeFor[T]()
	cells := make([]string, kind.NumField())
	for i := range cells {
		cells[i] = columnName(kind.Field(i))
	}
	if err := out.Write(cells); err != nil {
		return err
	}
	n := 0
	for r, err := range rows {
		if err != nil {
			return err
		}
		row := reflect.ValueOf(r).Elem()
		if !wanted(row) {
			continue
		}
		if n++; n > mostRows {
			return &tooManyError{}
		}
		for i := range cells {
			cells[i] = cellOf(row.Field(i))
		}
		if err := out.Write(cells); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}

func cellOf(v reflect.Value) string {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return ""
		}
		v = v.Elem()
	}
	return fmt.Sprint(v.Interface())
}

// columnName is a field's name in the table.
func columnName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("parquet"), ",")
	return name
}

func columnIndex(kind reflect.Type, column string) int {
	for i := range kind.NumField() {
		if columnName(kind.Field(i)) == column {
			return i
		}
	}
	return -1
}
