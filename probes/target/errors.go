package target

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

var (
	// ErrGone: the process does not exist, or no longer, or its number now
	// belongs to another one.
	ErrGone = errors.New("no such process")
	// ErrDenied: /proc would not show it to this user.
	ErrDenied = errors.New("not permitted")
	// ErrNotPython: the process runs no Python.
	ErrNotPython = errors.New("not a Python process")
	// ErrNotVLLM: Python, but no sign of vLLM.
	ErrNotVLLM = errors.New("not a vLLM server")
	// ErrMalformed: /proc held something else than the kernel writes.
	ErrMalformed = errors.New("malformed")
)

// SeveralError says that a process stands above more than one server.
type SeveralError struct {
	PID     int
	Servers []Server
}

func (e *SeveralError) Error() string {
	return fmt.Sprintf("process %d has %d vLLM servers below it", e.PID, len(e.Servers))
}

// procError gives an error of reading /proc/PID its kind.
func procError(pid int, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, os.ErrNotExist), errors.Is(err, syscall.ESRCH):
		return fmt.Errorf("process %d: %w", pid, ErrGone)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("process %d: %w", pid, ErrDenied)
	}
	return fmt.Errorf("process %d: %w", pid, err)
}
