package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/journal"
)

func (a *app) decodeCommand() *cobra.Command {
	noCSV := false
	c := &cobra.Command{
		Use:   "decode SESSION",
		Short: "Make a session's tables and files again from its journal",
		Long: `decode reads the journal of a session and makes the Parquet tables and the CSV,
JSON and TXT files from it again: the same bytes as the live run wrote, or as it
would have written had it not been killed.`,
		Example: "  pmtrace decode /tmp/vllm_profiling/session_20261123_200354",
		Args:    oneSession("decode"),
		RunE:    func(_ *cobra.Command, args []string) error { return a.decode(args[0], noCSV) },
	}
	c.Flags().BoolVar(&noCSV, "no-csv", false, "make Parquet only")
	return c
}

func (a *app) decode(path string, noCSV bool) error {
	dir, err := a.world.open(path)
	if err != nil {
		return failed("cannot open the session", rootCause(err), whichSession)
	}
	defer dir.Close()
	var pipe pipeline
	log, _ := newLog(a.stderr, false)
	records := 0
	damage, err := dir.Replay(func(kind byte, payload []byte) error {
		if pipe == nil {
			var perr error
			if pipe, perr = dir.Tables(startOf(kind, payload, dir.ID()), true, nil, log); perr != nil {
				return perr
			}
		}
		records++
		return pipe.Record(kind, payload)
	})
	for _, d := range damage {
		fmt.Fprintln(a.stderr, "pmtrace: damaged:", printable(d))
	}
	switch {
	case pipe == nil && errors.Is(err, fs.ErrNotExist):
		return failed("cannot decode "+dir.Path(), errors.New("no journal in it"), whichSession)
	case pipe == nil && err == nil:
		err = errors.New("its journal is empty")
	}
	if pipe != nil {
		if cerr := pipe.Close(); err == nil {
			err = cerr
		}
	}
	if err != nil {
		return failed("cannot decode "+dir.Path(), rootCause(err), "")
	}
	summary, err := dir.Finish(!noCSV)
	if err != nil {
		return failed("the files could not be written", rootCause(err), "")
	}
	fmt.Fprint(a.stderr, printableLines(summary))
	fmt.Fprintf(a.stderr, "pmtrace: %d records decoded, session %s\n", records, dir.Path())
	return nil
}

// startOf reads the journal's first record, which is the Start fact unless the
// first frame is damaged.
func startOf(kind byte, payload []byte, id string) record.Start {
	var f record.Fact
	if kind == journal.KindFact && json.Unmarshal(payload, &f) == nil && f.Start != nil {
		return *f.Start
	}
	return record.Start{SessionID: id}
}
