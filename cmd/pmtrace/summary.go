package main

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/pmtrace/pmtrace/output/findings"
	"github.com/pmtrace/pmtrace/output/session"
)

func (a *app) summaryCommand() *cobra.Command {
	asJSON := false
	c := &cobra.Command{
		Use:   "summary SESSION",
		Short: "Say what a session shows, what slowed the server down and what to change",
		Long: `summary prints a session on one screen: throughput, latencies, steps, GPU, graphs,
KV cache, losses; and then its findings, the costliest first: each with its share of
the time of all requests, the figures that say so, and what to change. The same is
printed at the end of attach, record and profile.`,
		Example: "  pmtrace summary /tmp/vllm_profiling/session_20261123_200354",
		Args:    oneSession("summary"),
		RunE:    func(_ *cobra.Command, args []string) error { return a.summary(args[0], asJSON) },
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print the findings alone, as JSON")
	return c
}

func (a *app) summary(path string, asJSON bool) error {
	dir, err := openSession(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	facts, err := session.ReadFacts(dir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return failed("cannot summarise "+dir.Path(), errors.New("it has no "+session.FileMetadata), "pmtrace decode makes it from the journal, as after a trace that was killed")
		}
		return failed("cannot summarise "+dir.Path(), rootCause(err), "")
	}
	sum, search := session.NewSummary(dir, facts), findings.NewSearch(facts)
	if err := session.Visit(dir, sum.Visitor(), search.Visitor()); err != nil {
		return failed("cannot summarise "+dir.Path(), rootCause(err), "pmtrace decode makes its tables again")
	}
	list := search.Findings()
	if asJSON {
		return a.printJSON(list)
	}
	text, err := summaryText(sum, list)
	if err == nil {
		fmt.Fprint(a.stdout, printableLines(text))
	}
	return err
}
