package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/pmtrace/pmtrace/cmd/pmtrace/load"
)

// The load is made by a process of its own, so that the tracer's processor time and
// memory are the tracer's.

// loadJob is what it is given, loadAnswer what it says, each as one JSON object.
type loadJob struct {
	URL  string
	Key  string
	Plan load.Plan
}

type loadAnswer struct {
	Result *load.Result
	Error  string
}

func (a *app) runLoad(ctx context.Context, job *loadJob) (*load.Result, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	in, err := json.Marshal(job)
	if err != nil {
		return nil, err
	}
	c := exec.CommandContext(ctx, self, "make-load")
	c.Stdin, c.Stderr = bytes.NewReader(in), a.stderr
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // the terminal's signals are for us
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) }
	c.WaitDelay = 5 * time.Second
	out, err := c.Output()
	if err != nil {
		return nil, fmt.Errorf("the process that makes the load: %w", err)
	}
	var answer loadAnswer
	if err := json.Unmarshal(out, &answer); err != nil {
		return nil, fmt.Errorf("the process that makes the load: %w", err)
	}
	if answer.Error != "" {
		return nil, errors.New(answer.Error)
	}
	return answer.Result, nil
}

// loaderCommand is the other side.
func (a *app) loaderCommand() *cobra.Command {
	return &cobra.Command{
		Use: "make-load", Hidden: true, Args: cobra.NoArgs,
		Short: "Put a server under load, for profile",
		RunE: func(c *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(c.Context(), syscall.SIGTERM, syscall.SIGINT)
			defer stop()
			var job loadJob
			if err := json.NewDecoder(a.stdin).Decode(&job); err != nil {
				return failed("cannot read what load to make", err, "")
			}
			var answer loadAnswer
			result, err := job.run(ctx)
			if err != nil {
				answer.Error = err.Error()
			}
			answer.Result = result
			return json.NewEncoder(a.stdout).Encode(answer)
		},
	}
}

// warmOutput is what each client's first request generates, which is not counted: what
// comes first also waits for what is made at the first use.
var warmOutput = load.Span{Low: 8, High: 8}

func (j *loadJob) run(ctx context.Context) (*load.Result, error) {
	server := load.NewServer(j.URL, j.Key)
	if err := server.Look(ctx); err != nil {
		return nil, err
	}
	warm := j.Plan
	warm.Seed = ^j.Plan.Seed // other prompts, or the load's own would be in the prefix cache
	warm.Rate, warm.Requests, warm.Time, warm.Output = 0, warm.Concurrency, time.Minute, warmOutput
	if _, err := load.Run(ctx, server, warm); err != nil {
		return nil, err
	}
	return load.Run(ctx, server, j.Plan)
}
