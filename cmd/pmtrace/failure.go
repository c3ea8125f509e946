package main

import (
	"fmt"
	"strings"
)

// Exit codes.
const (
	exitTraced     = 0
	exitFailed     = 1
	exitUsage      = 2
	exitImpossible = 3   // this machine or target cannot be traced
	exitLost       = 4   // --strict: events were lost
	exitChanged    = 5   // diff --fail-on: a change was beyond its limit
	exitStrict     = 125 // record --strict: tracing failed

	exitNotExecutable = 126 // record: the command cannot be run (as shells say it)
	exitNotFound      = 127 // record: there is no such command
	exitSignal        = 128 // record: + the signal that ended the server
)

// failure ends the command with one line: what, why, remedy.
type failure struct {
	code   int
	what   string
	why    string
	remedy string
}

func (f *failure) Error() string {
	s := f.what
	if f.why != "" {
		s += ": " + f.why
	}
	if f.remedy != "" {
		s += "; " + f.remedy
	}
	return strings.ReplaceAll(s, "\n", " ")
}

// exitCode ends the command with a code and no further word.
type exitCode int

func (c exitCode) Error() string { return fmt.Sprintf("exit code %d", int(c)) }

func usage(format string, args ...any) *failure {
	if len(args) > 0 {
		format = fmt.Sprintf(format, args...)
	}
	return &failure{code: exitUsage, what: format, remedy: "see pmtrace --help"}
}

func impossible(what, why, remedy string) *failure {
	return &failure{code: exitImpossible, what: what, why: why, remedy: remedy}
}

func failed(what string, err error, remedy string) *failure {
	return &failure{code: exitFailed, what: what, why: err.Error(), remedy: remedy}
}
