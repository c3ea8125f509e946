// Package check says what this machine, this user and a given server allow
// pmtrace to do: for each thing that tracing needs, what was found, what is
// needed and what to do about it. It looks and tries, and changes nothing; it
// prints nothing.
package check
