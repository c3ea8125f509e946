package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pmtrace/pmtrace/output/page"
	"github.com/pmtrace/pmtrace/output/session"
)

const (
	fileReport = "profile_report.html"
	// serveHere is any free port of this machine alone.
	serveHere = "127.0.0.1:0"
)

type reportOptions struct {
	session, file string
	serve         string // address; "": no
}

func (a *app) reportCommand() *cobra.Command {
	var o reportOptions
	c := &cobra.Command{
		Use:   "report SESSION",
		Short: "Write a session as one HTML file: summary, findings, charts",
		Long: `report writes a session as one HTML file that needs no network and no other file:
summary, findings, timelines that zoom together, latencies, graphs and padding, kernels,
experts, and where the time of the slowest requests went.

However long the session was, the file stays small: it has sums and extremes of equal
stretches of time, and single steps where findings and slow requests point at. --serve
hands the page out on this machine alone, with every step and row of what is zoomed at.`,
		Example: `  pmtrace report /tmp/vllm_profiling/session_20261123_200354
  pmtrace report --serve /tmp/vllm_profiling/session_20261123_200354
  pmtrace report --serve=127.0.0.1:8888 /tmp/vllm_profiling/session_20261123_200354`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 2 && o.serve == serveHere { // --serve ADDRESS without the =
				for i := range args {
					if isAddress(args[i]) {
						o.serve, args[0] = args[i], args[1-i]
						return nil
					}
				}
			}
			return oneSession("report")(nil, args)
		},
		RunE: func(c *cobra.Command, args []string) error {
			o.session = args[0]
			if o.serve != "" {
				return a.serveReport(c.Context(), o)
			}
			return a.report(o)
		},
	}
	f := c.Flags()
	f.StringVarP(&o.file, "output", "o", "", "file to write, packed if its name ends in .gz (default SESSION/"+fileReport+")")
	f.StringVar(&o.serve, "serve", "", "serve the page, and all rows to it, at this `address` of the machine itself")
	f.Lookup("serve").NoOptDefVal = serveHere
	return c
}

// report writes the page into the session, or where it is wanted.
func (a *app) report(o reportOptions) error {
	dir, p, err := a.buildReport(o.session)
	if err != nil {
		return err
	}
	defer dir.Close()
	file := o.file
	if file == "" {
		file = filepath.Join(dir.Path(), fileReport)
		err = dir.Replace(fileReport, p.Write)
	} else {
		err = writeFile(file, p.Write)
	}
	if err != nil {
		return failed("cannot write the report", rootCause(err), "choose another file with -o")
	}
	fmt.Fprintf(a.stderr, "pmtrace: %s written; open it in a browser\n", file)
	return nil
}

// buildReport reads a session for the page.
func (a *app) buildReport(path string) (*session.Dir, *page.Page, error) {
	dir, err := openSession(path)
	if err != nil {
		return nil, nil, err
	}
	p, err := readReport(dir)
	if err != nil {
		dir.Close()
		return nil, nil, err
	}
	return dir, p, nil
}

func readReport(dir *session.Dir) (*page.Page, error) {
	facts, err := session.ReadFacts(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, failed("cannot report on "+dir.Path(), errors.New("it has no "+session.FileMetadata), "pmtrace decode makes it from the journal, as after a trace that was killed")
	case err != nil:
		return nil, failed("cannot report on "+dir.Path(), rootCause(err), "make its files again with pmtrace decode")
	}
	p, err := page.Build(dir, facts)
	if err != nil {
		return nil, failed("cannot report on "+dir.Path(), rootCause(err), "make its tables again with pmtrace decode")
	}
	return p, nil
}

// serveReport hands the page out until it is interrupted.
func (a *app) serveReport(ctx context.Context, o reportOptions) error {
	if o.file != "" {
		return usage("-o and --serve exclude each other")
	}
	address, err := loopback(o.serve)
	if err != nil {
		return err
	}
	dir, p, err := a.buildReport(o.session)
	if err != nil {
		return err
	}
	defer dir.Close()
	// Other users of this machine reach its ports as well: the session is its owner's alone.
	prefix := "/" + rand.Text() + "/"
	handler, err := p.Handler(dir, prefix)
	if err != nil {
		return failed("cannot serve the report", err, "")
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return failed("cannot serve the report", rootCause(err), "choose another port with --serve=127.0.0.1:PORT")
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute}
	ctx, stop := a.interruptible(ctx)
	defer stop()
	ended := make(chan struct{})
	serving, cancel := context.WithCancel(ctx)
	go func() {
		defer close(ended)
		<-serving.Done()
		_ = server.Close()
	}()
	fmt.Fprintf(a.stderr, "pmtrace: http://%s%s serves %s to this machine; Ctrl-C ends it\n", listener.Addr(), prefix, dir.Path())
	err = server.Serve(listener)
	cancel()
	<-ended
	if !errors.Is(err, http.ErrServerClosed) {
		return failed("cannot serve the report", err, "")
	}
	return nil
}

// isAddress tells an address from a session's directory: it ends in a port.
func isAddress(arg string) bool {
	_, err := strconv.ParseUint(arg[strings.LastIndexByte(arg, ':')+1:], 10, 16)
	return err == nil
}

// loopback takes addresses of the machine itself alone. A port, or :port, is one of them.
func loopback(address string) (string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		host, port = "", address
	}
	switch host {
	case "", "localhost":
		host = "127.0.0.1"
	}
	ip, err := netip.ParseAddr(host)
	if err != nil || !ip.IsLoopback() {
		return "", usage("--serve %s: a session is served to this machine alone: 127.0.0.1:PORT (from elsewhere: ssh -L)", address)
	}
	if _, err := net.LookupPort("tcp", port); err != nil {
		return "", usage("--serve %s: %q is no port", address, port)
	}
	return net.JoinHostPort(host, port), nil
}
