package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// tracer is a running `pmtrace attach`.
type tracer struct {
	cmd     *exec.Cmd
	out     string
	stderr  armed
	armedIn time.Duration // since it was started
	ended   chan error
}

// attach starts ./pmtrace and returns when its watches are armed.
func attach(ctx context.Context, b *bench, pid int) (*tracer, error) {
	out, err := os.MkdirTemp(b.work, "out-")
	if err != nil {
		return nil, err
	}
	t := &tracer{out: out, ended: make(chan error, 1)}
	t.stderr.is = make(chan struct{})
	t.cmd = exec.Command("./pmtrace", "attach", "--force", "--pid", strconv.Itoa(pid), "--output-dir", out, "--log-interval", "0")
	t.cmd.Stderr = &t.stderr
	began := time.Now()
	if err := t.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { t.ended <- t.cmd.Wait() }()
	select {
	case <-t.stderr.is:
		t.armedIn = time.Since(began)
		return t, nil
	case err := <-t.ended:
		return nil, fmt.Errorf("pmtrace attach: %w: %s", err, t.stderr.text())
	case <-ctx.Done():
	case <-time.After(2 * time.Minute):
	}
	_ = t.cmd.Process.Kill()
	return nil, errors.Join(
		fmt.Errorf("pmtrace attach is not armed after %.0f s: %s", time.Since(began).Seconds(), t.stderr.text()), <-t.ended)
}

func (t *tracer) pid() int { return t.cmd.Process.Pid }

// stop ends it in order.
func (t *tracer) stop() error {
	if err := t.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	if err := <-t.ended; err != nil {
		return fmt.Errorf("pmtrace attach: %w: %s", err, t.stderr.text())
	}
	return nil
}

// session that it wrote.
func (t *tracer) session() (string, error) {
	found, err := filepath.Glob(filepath.Join(t.out, "session_*"))
	if err == nil && len(found) != 1 {
		err = fmt.Errorf("%d sessions in %s", len(found), t.out)
	}
	if err != nil {
		return "", err
	}
	return found[0], nil
}

// noneLost says that nothing is missing in what was measured.
func (t *tracer) noneLost() error {
	if !strings.Contains(t.stderr.text(), "Lost events  0") {
		return errors.New("events were lost: " + t.stderr.text())
	}
	return nil
}

// armed keeps what pmtrace says and notices the word that it is armed.
type armed struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	said bool
	is   chan struct{}
}

func (a *armed) Write(p []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	n, err := a.buf.Write(p)
	if !a.said && bytes.Contains(a.buf.Bytes(), []byte("tracing engine")) {
		a.said = true
		close(a.is)
	}
	return n, err
}

func (a *armed) text() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.buf.String()
}
