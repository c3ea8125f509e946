package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/report"
	"github.com/pmtrace/pmtrace/output/session"
)

type requestOptions struct {
	session, id string
	top         int
	by          string
	tokens      int
	json        bool
}

func (a *app) requestCommand() *cobra.Command {
	var o requestOptions
	c := &cobra.Command{
		Use:   "request SESSION [ID]",
		Short: "Say why a session's requests, or one of them, were slow",
		Long: `request lists the slowest requests of a session and where their time went. With
an ID (the client's or the engine's, the beginning of one, or a request_uid) it
tells of that request: its life, its time to the first token and in all divided
into parts that sum to it, and what its slowest tokens waited for.`,
		Example: `  pmtrace request --by ttft /tmp/vllm_profiling/session_20261123_200354
  pmtrace request /tmp/vllm_profiling/session_20261123_200354 cmpl-944b`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) < 1 || len(args) > 2 {
				return usage("request wants a session directory, and perhaps a request: pmtrace request …/session_… [ID]")
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			o.session = args[0]
			if len(args) > 1 {
				o.id = args[1]
			}
			return a.request(o)
		},
	}
	c.Flags().IntVar(&o.top, "top", 10, "how many requests to list")
	c.Flags().StringVar(&o.by, "by", report.ByTotal, "slowest by "+strings.Join(report.Orders(), ", "))
	c.Flags().IntVar(&o.tokens, "tokens", 5, "with an ID: how many of its slowest tokens to tell of")
	c.Flags().BoolVar(&o.json, "json", false, "as JSON")
	return c
}

func (a *app) request(o requestOptions) error {
	switch {
	case o.top < 1:
		return usage("--top %d: want 1 or more", o.top)
	case o.tokens < 0:
		return usage("--tokens %d: want 0 or more", o.tokens)
	case !slices.Contains(report.Orders(), o.by):
		return usage("--by: %q is not one of %s", o.by, strings.Join(report.Orders(), ", "))
	}
	dir, err := openSession(o.session)
	if err != nil {
		return err
	}
	defer dir.Close()
	if _, err := fs.Stat(dir.FS(), "parquet/"+session.TableRequests); err != nil {
		return failed("cannot read "+dir.Path(), errors.New("it has no table of requests"), "make its tables with pmtrace decode")
	}
	limits, err := limitsOf(dir)
	if err != nil {
		return failed("cannot read "+dir.Path(), rootCause(err), "make its files again with pmtrace decode")
	}
	if o.id == "" {
		return a.listRequests(dir, o, limits)
	}
	return a.explainRequest(dir, o, limits)
}

// limitsOf takes the engines' limits from metadata.json. A session that did not
// end has none.
func limitsOf(dir *session.Dir) (map[int32]report.Limits, error) {
	var file struct {
		Engines []record.Engine `json:"engines"`
	}
	if err := session.ReadMetadata(dir, &file); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	limits := map[int32]report.Limits{}
	for _, e := range file.Engines {
		limits[int32(e.Engine)] = report.Limits{MaxSeqs: e.MaxSeqs, MaxTokens: e.MaxTokens, BlockSize: e.BlockSize}
	}
	return limits, nil
}

func (a *app) listRequests(dir *session.Dir, o requestOptions, limits map[int32]report.Limits) error {
	list, all, err := report.Slowest(dir, o.by, o.top, limits)
	if err != nil {
		return failed("cannot read "+dir.Path(), rootCause(err), "make its tables again with pmtrace decode")
	}
	if o.json {
		return a.printJSON(map[string]any{"requests": all, "slowest_by": o.by, "slowest": list})
	}
	printRequests(a.stdout, list, all, o.by)
	return nil
}

func (a *app) explainRequest(dir *session.Dir, o requestOptions, limits map[int32]report.Limits) error {
	d, err := report.Explain(dir, o.id, o.tokens, limits)
	var none *report.NotFoundError
	var several *report.AmbiguousError
	switch {
	case errors.As(err, &none):
		return failed("cannot tell of a request of "+dir.Path(), err, "without an ID, pmtrace request lists the slowest")
	case errors.As(err, &several):
		return failed("cannot tell of a request of "+dir.Path(), err, "name one by its number")
	case err != nil:
		return failed("cannot read "+dir.Path(), rootCause(err), "make its tables again with pmtrace decode")
	}
	if o.json {
		return a.printJSON(d)
	}
	printRequest(a.stdout, d)
	return nil
}

// shares are the columns of the list: parts together.
var shares = []struct {
	head string
	of   func(*report.Parts) int64
}{
	{"QUE", func(p *report.Parts) int64 { return p.Of(report.Frontend, report.QueueOther) }},
	{"OWN", func(p *report.Parts) int64 { return p[report.OwnPrefill] }},
	{"OTH", func(p *report.Parts) int64 { return p[report.OthersPrefill] + p[report.OtherSteps] }},
	{"DEC", func(p *report.Parts) int64 { return p[report.Decode] }},
	{"HST", func(p *report.Parts) int64 { return p.Of(report.Schedule, report.HostOther) }},
	{"PRE", func(p *report.Parts) int64 { return p[report.Preempted] + p[report.Recompute] }},
	{"UNK", func(p *report.Parts) int64 { return p[report.Unknown] }},
}

func printRequests(w io.Writer, list []report.Request, all int, by string) {
	fmt.Fprintf(w, "%d of %d requests, slowest by %s\n\n", len(list), all, by)
	fmt.Fprintf(w, "%5s %8s %6s %5s %8s %7s %8s", "UID", "AT s", "PROMPT", "OUT", "TTFT ms", "TPOT ms", "TOTAL ms")
	for _, s := range shares {
		fmt.Fprintf(w, " %3s", s.head)
	}
	fmt.Fprintln(w, "  ID")
	times := map[string]int64{}
	for i := range list {
		r := &list[i]
		for source, ns := range r.Timings {
			times[source] += ns
		}
		fmt.Fprintf(w, "%5d %8.3f %6s %5s %8s %7s %8s", r.UID, float64(r.FromNS)/1e9, number(r.PromptTokens), number(r.OutputTokens),
			millis(r.TTFTNS), millis(r.TPOTNS), millis(new(r.ToNS-r.FromNS)))
		for _, s := range shares {
			fmt.Fprintf(w, " %3s", percent(s.of(&r.Total), r.ToNS-r.FromNS))
		}
		fmt.Fprintf(w, "  %s\n", printable(r.ExternalID))
	}
	fmt.Fprint(w, "\n", timings(times), `Shares of the total in %: QUE until first scheduled, OWN its prefill, OTH prefills of others
(attributed) and steps without it, DEC decode, HST the host while the GPU ran none of its
steps, PRE preempted and computed again, UNK unknown. With an ID or UID: all of that request.
`)
}

func number(n *int32) string {
	if n == nil {
		return "-"
	}
	return fmt.Sprint(*n)
}

func millis(ns *int64) string {
	if ns == nil {
		return "-"
	}
	return fmt.Sprintf("%.2f", float64(*ns)/1e6)
}

// percent is empty for nothing at all, so that what is there stands out.
func percent(part, whole int64) string {
	if part == 0 || whole <= 0 {
		return ""
	}
	return fmt.Sprintf("%.0f", 100*float64(part)/float64(whole))
}
