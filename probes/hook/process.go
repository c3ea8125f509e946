package hook

import (
	"fmt"

	"github.com/pmtrace/pmtrace/probes/cpython"
)

// MainThread is the thread that a Python process began with: its id here, and its
// PyThreadState.
type MainThread struct {
	Python *cpython.Runtime
	TID    int
	State  uint64
}

// OpenMain opens the interpreter of a process.
func OpenMain(pid int, force bool) (MainThread, error) {
	rt, err := cpython.Open(pid, cpython.Options{AllowUnknown: force})
	if err != nil {
		return MainThread{}, err
	}
	interp, err := rt.MainInterpreter()
	if err != nil {
		return MainThread{}, err
	}
	threads, err := rt.Threads(interp)
	if err != nil {
		return MainThread{}, err
	}
	hosts, err := cpython.HostTIDs(pid)
	if err != nil {
		return MainThread{}, err
	}
	for _, t := range threads {
		if hosts[t.NativeID] == pid {
			return MainThread{Python: rt, TID: pid, State: t.Addr}, nil
		}
	}
	return MainThread{}, fmt.Errorf("process %d has no main thread that runs Python", pid)
}
