package probes

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"
)

// ring is the events' buffer and a way to wait for it.
//
// The wait is the Go runtime's own poller. ringbuf.Reader waits in a system call
// of its own, which the runtime's watchdog thread then looks at 20 to 100 times
// a wait: that was more than half of what an idle tracer took of a core.
type ring struct {
	reader *ringbuf.Reader
	file   *os.File // the map, in the runtime's poller
	conn   syscall.RawConn
}

func newRing(events *ebpf.Map) (*ring, error) {
	reader, err := ringbuf.NewReader(events)
	if err != nil {
		return nil, err
	}
	r := &ring{reader: reader}
	if err := r.open(events.FD()); err != nil {
		return nil, errors.Join(err, r.close())
	}
	return r, nil
}

func (r *ring) open(events int) error {
	fd, err := unix.FcntlInt(uintptr(events), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return err
	}
	// os.NewFile takes what is not blocking into the poller.
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return err
	}
	r.file = os.NewFile(uintptr(fd), "ring")
	if err := r.file.SetReadDeadline(time.Time{}); err != nil {
		return fmt.Errorf("poll the ring: %w", err)
	}
	r.conn, err = r.file.SyscallConn()
	return err
}

// wait returns after d, when BPF has woken us since the last wait, or when ctx
// ends.
func (r *ring) wait(ctx context.Context, d time.Duration) error {
	if err := r.file.SetReadDeadline(time.Now().Add(d)); err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = r.file.SetReadDeadline(time.Unix(1, 0)) })()
	asked := false
	err := r.conn.Read(func(uintptr) bool {
		woken := asked
		asked = true
		return woken
	})
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	return err
}

// drain hands on all that is there and does not wait.
func (r *ring) drain(rec *ringbuf.Record, sink func(event []byte) error) error {
	if r.reader.AvailableBytes() == 0 {
		return nil
	}
	r.reader.SetDeadline(time.Unix(0, 0))
	for {
		err := r.reader.ReadInto(rec)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the ring buffer: %w", err)
		}
		if err := sink(rec.RawSample); err != nil {
			return err
		}
	}
}

func (r *ring) close() error {
	err := r.reader.Close()
	if r.file != nil {
		err = errors.Join(err, r.file.Close())
	}
	return err
}
