package main

import (
	"github.com/spf13/cobra"

	"github.com/pmtrace/pmtrace/output/session"
)

// whichSession is the remedy for a path that is not a session's.
const whichSession = "name a directory that pmtrace made: …/session_…"

// oneSession wants a session's directory as a command's only argument.
func oneSession(command string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != 1 {
			return usage("%s wants one session directory: pmtrace %s …/session_…", command, command)
		}
		return nil
	}
}

func openSession(path string) (*session.Dir, error) {
	dir, err := session.Open(path)
	if err != nil {
		return nil, failed("cannot open the session", rootCause(err), whichSession)
	}
	return dir, nil
}
