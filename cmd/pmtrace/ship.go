package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/pmtrace/pmtrace/output/fleet"
	"github.com/pmtrace/pmtrace/output/session"
)

func (a *app) shipCommand() *cobra.Command {
	var o shipOptions
	c := &cobra.Command{
		Use:   "ship SESSION... DESTINATION",
		Short: "Bring sessions to a store of many, to be queried as one",
		Long: `ship brings the Parquet tables of sessions that have ended to a directory or a
bucket, where DuckDB, Spark, Trino and ClickHouse query those of many hosts as one
table each:

  TABLE/host=HOST/date=YYYY-MM-DD/session=SESSION/part-00000.parquet

Table sessions has a row a session. DESTINATION is a directory (or dir:///PATH) or
s3://BUCKET/PREFIX; ?endpoint=https://HOST:PORT and ?region= name a store that is not
Amazon's. Credentials come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, from
~/.aws, or from the role of the machine or pod.

What is there already is not sent again, so ship may be repeated at any time and goes
on where it was cut off. A file is visible when it is whole. attach, record and profile
ship while they trace, with --ship-to.`,
		Example: `  pmtrace ship /tmp/vllm_profiling/session_* s3://traces/vllm
  pmtrace ship session_20261127_101500 /mnt/fleet`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) < 2 {
				return usage("ship wants sessions and a destination: pmtrace ship …/session_… s3://BUCKET/PREFIX")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			ctx, stop := a.interruptible(c.Context())
			defer stop()
			return a.shipAll(ctx, &o, args[:len(args)-1], args[len(args)-1])
		},
	}
	f := c.Flags()
	f.StringVar(&o.host, "host", "", "`name` of the sessions' host (default: what it called itself)")
	f.BoolVar(&o.raw, "journal", false, "ship the journals, too")
	f.BoolVar(&o.remove, "remove", false, "ship the journals, too, read all of it back, and remove the sessions here")
	return c
}

// shipAll goes on after a session that cannot be shipped; the last such is returned, the
// others are said.
func (a *app) shipAll(ctx context.Context, o *shipOptions, paths []string, destination string) error {
	var err error
	if o.store, err = openStore("", destination, a.env); err != nil {
		return err
	}
	for _, path := range paths {
		if ctx.Err() != nil {
			break
		}
		next := a.shipOne(ctx, o, path)
		if next != nil {
			a.say(err)
			err = next
		}
	}
	return err
}

func (a *app) shipOne(ctx context.Context, o *shipOptions, path string) error {
	dir, err := openSession(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	s := o.store
	shipment := fleet.New(s, dir, o.fleet())
	err = shipment.Finish(ctx)
	var other *fleet.OtherError
	switch {
	case errors.Is(err, fleet.ErrUnfinished), errors.Is(err, fleet.ErrNothing):
		return failed("cannot ship "+dir.Path(), err, "if nobody traces it, pmtrace decode makes its tables from the journal")
	case errors.As(err, &other):
		return failed("cannot ship "+dir.Path(), err, "name its host with --host")
	case err != nil:
		return failed("cannot ship "+dir.Path()+" to "+s.String(), rootCause(err), fmt.Sprintf("%s are there; the same command goes on", tallied(&shipment.Tally)))
	}
	fmt.Fprintf(a.stderr, "pmtrace: shipped %s to %s: %s\n", dir.Path(), s, tallied(&shipment.Tally))
	return a.isThere(ctx, shipment, dir, o)
}

// verifyAndRemove removes a session when all of it has been read back.
func (a *app) verifyAndRemove(ctx context.Context, s *fleet.Shipment, dir *session.Dir) error {
	if err := s.Verify(ctx); err != nil {
		return failed("the session is not removed, since reading it back failed", err, "it stays in "+dir.Path())
	}
	if err := session.RemoveSession(dir); err != nil {
		return failed("the session was shipped, but cannot be removed", rootCause(err), "")
	}
	fmt.Fprintf(a.stderr, "pmtrace: read back all of it, and removed %s\n", dir.Path())
	return nil
}
