package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/pmtrace/pmtrace/probes/target"
)

// listed is a server with what its files tell.
type listed struct {
	target.Server
	target.Versions
	AgeSeconds int64 `json:"age_s"`
}

func (a *app) lsCommand() *cobra.Command {
	asJSON := false
	c := &cobra.Command{
		Use:   "ls",
		Short: "List the vLLM servers that run here",
		Long: `ls lists the vLLM servers that run here, those in containers too. PID is what
attach takes (any process of the server will do), ENGINES are the processes that run a
scheduler, one for each data-parallel rank, AGE is for how long the server has run.`,
		Example: `  sudo pmtrace ls
  sudo pmtrace ls --json`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			servers, err := a.list()
			if err != nil {
				return failed("cannot look for servers", err, "")
			}
			if asJSON {
				return a.printJSON(servers)
			}
			if len(servers) == 0 {
				fmt.Fprintln(a.stderr, "pmtrace: no vLLM server runs here (that this user can see)")
				return nil
			}
			return printServers(a.stdout, servers)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "as JSON, with all processes")
	return c
}

func (a *app) list() ([]listed, error) {
	servers, err := a.world.proc.List()
	out := make([]listed, 0, len(servers))
	for _, s := range servers {
		out = append(out, a.describe(s))
	}
	return out, err
}

// describe takes the versions of the process that has most mapped: an engine.
func (a *app) describe(s target.Server) listed {
	l := listed{Server: s}
	of := s.Root
	if c := s.Candidates(); len(c) > 0 {
		of = c[0].PID
	}
	l.Versions = a.world.proc.Versions(of)
	if p := s.Process(s.Root); p != nil {
		l.AgeSeconds = (a.world.monotonic() - p.StartNS) / 1e9
	}
	return l
}

func printServers(w io.Writer, servers []listed) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "PID\tENGINES\tPROCESSES\tVLLM\tTORCH\tPYTHON\tMODEL\tPORT\tAGE")
	for _, s := range servers {
		port := ""
		if s.Port != 0 {
			port = strconv.Itoa(s.Port)
		}
		fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", s.Root, engines(s.Server), roles(s.Server),
			orDash(s.VLLM), orDash(s.Torch), orDash(s.Python), orDash(printable(s.Model)), orDash(port), age(s.AgeSeconds))
	}
	return t.Flush()
}

// engines lists the PIDs of the engines.
func engines(s target.Server) string {
	var pids []string
	for _, e := range s.Engines() {
		pids = append(pids, strconv.Itoa(e.PID))
	}
	return orDash(strings.Join(pids, ","))
}

// roles counts the processes by what they do.
func roles(s target.Server) string {
	var words []string
	for _, r := range []target.Role{target.RoleAPIServer, target.RoleEngine, target.RoleWorker, target.RoleCoordinator, target.RoleOther} {
		n := 0
		for _, p := range s.Processes {
			if p.Role == r {
				n++
			}
		}
		if n > 0 {
			words = append(words, fmt.Sprintf("%d %s", n, r))
		}
	}
	return strings.Join(words, ", ")
}

func age(s int64) string {
	return (time.Duration(s) * time.Second).String()
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
