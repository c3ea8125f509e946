package target

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Handle holds on to one process: as long as that has not ended, its number is
// its own.
type Handle struct {
	PID  int
	file *os.File // the pidfd, in the runtime's poller: waiting takes no thread
}

// Open gets a handle on the process that was seen, ErrGone if its number is now
// another one's.
func (p Proc) Open(seen Process) (*Handle, error) {
	fd, err := unix.PidfdOpen(seen.PID, unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, procError(seen.PID, err)
	}
	h := &Handle{PID: seen.PID, file: os.NewFile(uintptr(fd), "pidfd")}
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

// Wait returns nil when the process has ended, ctx's error if that is first.
func (h *Handle) Wait(ctx context.Context) error {
	conn, err := h.file.SyscallConn()
	if err != nil {
		return err
	}
	if err := h.file.SetReadDeadline(time.Time{}); err != nil {
		return fmt.Errorf("wait for process %d: %w", h.PID, err)
	}
	defer context.AfterFunc(ctx, func() { _ = h.file.SetReadDeadline(time.Unix(1, 0)) })()
	var perr error
	err = conn.Read(func(fd uintptr) bool {
		var ended bool
		ended, perr = readable(fd)
		return ended || perr != nil
	})
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return ctx.Err()
	case err != nil:
		return err
	}
	return perr
}

// Ended says whether the process has ended.
func (h *Handle) Ended() bool {
	conn, err := h.file.SyscallConn()
	if err != nil {
		return true // closed
	}
	ended := false
	var perr error
	err = conn.Control(func(fd uintptr) { ended, perr = readable(fd) })
	return ended || perr != nil || err != nil
}

// readable says whether a pidfd's process has ended.
func readable(pidfd uintptr) (bool, error) {
	fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	if errors.Is(err, unix.EINTR) {
		return false, nil
	}
	return n > 0, err
}

// Close lets go of the process; a Wait that is running returns.
func (h *Handle) Close() error { return h.file.Close() }
