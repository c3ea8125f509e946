package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

// app is one invocation: its streams, its environment and the machine.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	env            environment
	world          *world
}

// run is the whole command; it returns the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, env []string) int {
	a := &app{stdin: stdin, stdout: stdout, stderr: stderr, env: newEnvironment(env), world: thisMachine()}
	return a.run(ctx, args)
}

func (a *app) run(ctx context.Context, args []string) int {
	root := a.command()
	root.SetArgs(args)
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	return a.exit(root.ExecuteContext(ctx))
}

// exit says what went wrong, in one line, and gives its code. What cobra itself
// objects to is wrong usage.
func (a *app) exit(err error) int {
	var code exitCode
	var f *failure
	switch {
	case err == nil:
		return exitTraced
	case errors.As(err, &code):
		return int(code)
	case errors.As(err, &f):
		fmt.Fprintln(a.stderr, "pmtrace:", f.Error())
		return f.code
	}
	fmt.Fprintln(a.stderr, "pmtrace:", usage(err.Error()).Error())
	return exitUsage
}

func (a *app) command() *cobra.Command {
	root := &cobra.Command{
		Use:   "pmtrace",
		Short: "Trace a running vLLM server from outside",
		Long: `pmtrace watches running vLLM servers from outside and writes what their
schedulers did, step by step: every step, request, KV-cache change and
preemption, as Parquet and CSV. Nothing in the server is changed.

Every flag has a variable: --output-dir is PMTRACE_OUTPUT_DIR, --no-csv is
PMTRACE_NO_CSV=true. Times are written 250ms, 30s, 5m or 1h30m, sizes 64KiB or 8MiB.

Exit codes: 0 traced; 1 failed; 2 wrong usage; 3 this machine or target cannot
be traced; 4 events were lost and --strict was given; 5 diff: a change was beyond
its limit. record passes the server's own code on; with --strict it is 125 if
tracing failed.`,
		Example: `  sudo pmtrace attach                 trace the vLLM server that runs here
  pmtrace record -- vllm serve MODEL  start a server and trace it from the start
  pmtrace profile -- vllm serve MODEL the same, with a load, and end it
  sudo pmtrace top                    watch the vLLM server that runs here
  pmtrace request SESSION             say why requests were slow`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
		PersistentPreRunE: func(c *cobra.Command, _ []string) error {
			return a.env.apply(c)
		},
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage("%s", withoutParser(err.Error())) })
	root.AddCommand(
		a.attachCommand(), a.recordCommand(), a.profileCommand(), a.lsCommand(), a.checkCommand(), a.hookCommand(),
		a.topCommand(), a.summaryCommand(), a.reportCommand(), a.requestCommand(), a.diffCommand(), a.exportCommand(), a.decodeCommand(), a.shipCommand(),
		a.versionCommand(), a.manCommand(), a.followCommand(), a.samplerCommand(), a.loaderCommand(),
	)
	a.offerings(root)
	return root
}
