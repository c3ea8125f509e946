package session

import (
	_ "embed"
	"fmt"
	"io"
	"strings"
)

// FileViews has the tables as views for DuckDB, and questions to them.
const FileViews = "views.sql"

// questions are views named q_…, each with a comment that says what it answers.
//
//go:embed questions.sql
var questions string

// viewed are the tables, in the order of the README.
var viewed = []string{
	TableSteps, TableStepRequests, TableRequests, TablePreemptions, TableKVUsage, TableKVBlocks, TableKVEvictions,
	TableCPUOperations, TableGraphs, TableGraphLaunches, TableEncoderDecoder, TableCollectives, TableLaunches, TableCopies,
	TableKernels, TableKernelWindows, TableKernelClasses, TableMoEActivations, TableMoECoselection, TableMoEImbalance, TableMoEWeights,
	TableGPUSamples, TableGPUCounters, TableHooks, TableProcesses, TableLosses,
}

// LackingError says that a session lacks a table that this version makes.
type LackingError struct{ Table string }

func (e *LackingError) Error() string { return "there is no table " + e.Table }

// WriteViews writes views.sql. DuckDB refuses a view of files that are not there, so
// every table must be; one without rows has a part.
func WriteViews(session *Dir) error {
	for _, table := range viewed {
		parts, err := partsOf(session, table)
		if err != nil {
			return err
		}
		if len(parts) == 0 {
			return &LackingError{table}
		}
	}
	return session.Replace(FileViews, func(w io.Writer) error {
		_, err := io.WriteString(w, viewsSQL())
		return err
	})
}

func viewsSQL() string {
	var b strings.Builder
	b.WriteString("-- Views for DuckDB, to be run in this directory: duckdb -init views.sql\n\n")
	for _, table := range viewed {
		fmt.Fprintf(&b, "create or replace view %s as select * from read_parquet('%s/%s/*.parquet');\n", table, tablesDir, table)
	}
	b.WriteString("\n")
	b.WriteString(questions)
	return b.String()
}
