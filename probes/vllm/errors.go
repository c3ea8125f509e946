package vllm

import "fmt"

// NotEngineError says that a process is no vLLM engine that can be traced now.
type NotEngineError struct {
	PID   int
	State State
	Found string // what was found instead, one line
	Err   error
}

// State says how far a process is from being a traceable engine.
type State int

// States of a process.
const (
	NotPython   State = iota + 1 // no CPython in it
	NotVLLM                      // Python, but vLLM is not imported
	NoEngine                     // vLLM is imported, but no engine runs here
	Loading                      // an engine is being made: try again
	Unsupported                  // an interpreter or engine that cannot be read
)

func (e *NotEngineError) Error() string {
	return fmt.Sprintf("process %d: %s", e.PID, e.Found)
}

// Unwrap gives the cause, which may be nil.
func (e *NotEngineError) Unwrap() error { return e.Err }
