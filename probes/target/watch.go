package target

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Handle holds on to one process: while it is open the process's number cannot
// be taken for another one's.
type Handle struct {
	PID int
	fd  int
}

// Open gets a handle on the process that was seen, ErrGone if its number is now
// another one's.
func (p Proc) Open(seen Process) (*Handle, error) {
	fd, err := unix.PidfdOpen(seen.PID, 0)
	if err != nil {
		return nil, procError(seen.PID, err)
	}
	h := &Handle{PID: seen.PID, fd: fd}
	st, err := p.stat(seen.PID)
	if err == nil && st.start != seen.Start {
		err = fmt.Errorf("process %d: %w: the number was used again", seen.PID, ErrGone)
	}
	if err != nil {
		h.Close()
		return nil, err
	}
	return h, nil
}

// pollStep bounds how long Wait stays in the kernel without looking at ctx.
const pollStep = 100 * time.Millisecond

// Wait returns nil when the process has ended, ctx's error if that is first.
func (h *Handle) Wait(ctx context.Context) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		ended, err := h.poll(pollStep)
		if ended || err != nil {
			return err
		}
	}
}

// Ended says whether the process has ended.
func (h *Handle) Ended() bool {
	ended, err := h.poll(0)
	return ended || err != nil
}

func (h *Handle) poll(d time.Duration) (bool, error) {
	fds := []unix.PollFd{{Fd: int32(h.fd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, int(d.Milliseconds()))
	if errors.Is(err, unix.EINTR) {
		return false, nil
	}
	return n > 0, err
}

// Close lets go of the process. No Wait may be running.
func (h *Handle) Close() error { return unix.Close(h.fd) }
