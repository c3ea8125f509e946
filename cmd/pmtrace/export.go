package main

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pmtrace/pmtrace/output/render"
	"github.com/pmtrace/pmtrace/output/session"
)

const (
	filePerfetto = "perfetto.pftrace"
	decodeAgain  = "pmtrace decode SESSION makes again what this version needs"
)

func (a *app) exportCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "export",
		Short: "Hand a session to other tools",
		Args:  cobra.NoArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(a.exportPerfettoCommand(), a.exportPrometheusCommand(), a.exportOTLPCommand(), a.exportViewsCommand())
	return c
}

type perfettoOptions struct {
	file     string
	from, to seconds
	requests uint
}

func (a *app) exportPerfettoCommand() *cobra.Command {
	o := perfettoOptions{requests: 2000}
	c := &cobra.Command{
		Use:   "perfetto SESSION",
		Short: "Write a trace that ui.perfetto.dev opens",
		Long: `export perfetto writes a session as a trace for Perfetto's UI: scheduler, GPU, CPU,
counters and requests on one time line. Nothing leaves this machine: the UI at
https://ui.perfetto.dev reads the file in the browser.`,
		Example: "  pmtrace export perfetto --from 10s --to 20s -o trace.pftrace.gz /tmp/vllm_profiling/session_20261123_200354",
		Args:    oneSession("export perfetto"),
		RunE:    func(_ *cobra.Command, args []string) error { return a.exportPerfetto(args[0], o) },
	}
	f := c.Flags()
	f.StringVarP(&o.file, "output", "o", "", "file to write, packed if its name ends in .gz (default SESSION/"+filePerfetto+")")
	f.Var(&o.from, "from", "leave out what ended before this time of the session: 10s")
	f.Var(&o.to, "to", "leave out what began after this time of the session: 20s")
	f.UintVar(&o.requests, "requests", o.requests, "tracks of requests at most")
	return c
}

func (o *perfettoOptions) window() (render.Window, error) {
	w := render.Always
	if o.from > 0 {
		w.From = int64(o.from)
	}
	if o.to > 0 {
		w.To = int64(o.to)
	}
	if w.From > w.To {
		return w, usage("--from %v is behind --to %v", time.Duration(o.from), time.Duration(o.to))
	}
	return w, nil
}

func (a *app) exportPerfetto(path string, o perfettoOptions) error {
	window, err := o.window()
	if err != nil {
		return err
	}
	dir, err := openSession(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	origin, err := session.ReadOrigin(dir)
	if err != nil {
		return failed("cannot export "+dir.Path(), err, decodeAgain)
	}
	var shown render.Shown
	write := func(w io.Writer) error {
		shown, err = render.Perfetto(w, dir, origin, render.Options{Window: window, Requests: int(o.requests)})
		return err
	}
	file := o.file
	if file == "" {
		file = filepath.Join(dir.Path(), filePerfetto)
		err = dir.Replace(filePerfetto, write)
	} else {
		err = writeFile(file, write)
	}
	if err != nil {
		return failed("cannot export "+dir.Path(), rootCause(err), "")
	}
	if shown.LeftOut > 0 {
		fmt.Fprintf(a.stderr, "pmtrace: %d of %d requests have no track; --requests N shows more, --from and --to others\n",
			shown.LeftOut, shown.LeftOut+shown.Requests)
	}
	fmt.Fprintf(a.stderr, "pmtrace: %s written; open it at https://ui.perfetto.dev\n", file)
	return nil
}

// writeFile writes a file that the caller has named.
func writeFile(name string, write func(io.Writer) error) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if !strings.HasSuffix(name, ".gz") {
		return errors.Join(write(f), f.Close())
	}
	packed := gzip.NewWriter(f)
	return errors.Join(write(packed), packed.Close(), f.Close())
}

func (a *app) exportViewsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "views SESSION",
		Short: "Write views.sql: the tables and questions to them, for DuckDB",
		Long: `export views writes views.sql into a session, as each new one has it: views for DuckDB of
every table, and of questions (q_…). In the session's directory: duckdb -init views.sql`,
		Example: "  pmtrace export views /tmp/vllm_profiling/session_20261123_200354",
		Args:    oneSession("export views"),
		RunE:    func(_ *cobra.Command, args []string) error { return a.exportViews(args[0]) },
	}
}

func (a *app) exportViews(path string) error {
	dir, err := openSession(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := session.WriteViews(dir); err != nil {
		return failed("cannot export "+dir.Path(), err, decodeAgain)
	}
	fmt.Fprintf(a.stderr, "pmtrace: %s written; in %s: duckdb -init %s\n", session.FileViews, dir.Path(), session.FileViews)
	return nil
}
