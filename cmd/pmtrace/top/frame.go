// Package top shows what a server does now: on a terminal, or line by line.
package top

import (
	"encoding/json"

	"github.com/pmtrace/pmtrace/output/live"
)

// State says what the figures are of.
type State string

const (
	Waiting State = "waiting" // for the engine, or for the first records
	Reading State = "reading" // what was recorded before; the figures are of then
	Tracing State = "tracing"
	Silent  State = "silent" // the tracer has written nothing for long
	Ended   State = "ended"
)

// Frame is what is shown at one moment.
type Frame struct {
	Title string `json:"server"` // model, version, process
	State State  `json:"state"`
	Note  string `json:"note,omitempty"` // more about the state
	live.View

	Unavailable []string `json:"unavailable,omitempty"`    // what figures are missing, and why
	Damaged     int      `json:"journal_damage,omitempty"` // places that cannot be read
}

// Source gives frames. n is how many requests to list at most.
type Source func(n int, by live.Order) Frame

// JSON is a frame as one line.
func (f *Frame) JSON() ([]byte, error) {
	b, err := json.Marshal(f)
	return append(b, '\n'), err
}
