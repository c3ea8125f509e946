package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// shape is e2e/shape running under a real CPython.
type shape struct {
	pid     int
	cmd     *exec.Cmd
	stdin   io.WriteCloser
	counter *os.File
	stopped bool
}

const shapePython = "3.12"

// startShape starts the program; it waits for begin before its first step. rate 0:
// as fast as it goes. Prompts have 128 tokens and outputs 256 in the mean, and
// there are a third more blocks than running requests need.
func startShape(ctx context.Context, b *bench, requests, rate int) (*shape, error) {
	counter, err := os.CreateTemp(b.work, "counter-")
	if err != nil {
		return nil, err
	}
	s := &shape{counter: counter}
	s.cmd = exec.CommandContext(ctx, filepath.Join(cache(), "cpython", shapePython, "python"), "e2e/shape/shape.py",
		"--counter", counter.Name(), "--rate", strconv.Itoa(rate), "--concurrency", strconv.Itoa(requests),
		"--requests", "1000000000", "--prompt", "256", "--output", "512", "--blocks", strconv.Itoa(40*requests+80))
	s.cmd.Stderr = os.Stderr
	if s.stdin, err = s.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start e2e/shape: %w", err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err == nil {
		s.pid, err = strconv.Atoi(strings.TrimSpace(line))
	}
	if err != nil {
		s.stop()
		return nil, fmt.Errorf("e2e/shape: %w", err)
	}
	return s, nil
}

func (s *shape) begin() error {
	_, err := io.WriteString(s.stdin, "go\n")
	return err
}

// steps that it has made so far.
func (s *shape) steps() float64 {
	var b [8]byte
	if _, err := s.counter.ReadAt(b[:], 0); err != nil {
		return 0
	}
	return float64(binary.LittleEndian.Uint64(b[:]))
}

func (s *shape) stop() {
	if s.stopped {
		return
	}
	s.stopped = true
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
	s.counter.Close()
}

// cache is where the tools are that tests and benchmarks need.
func cache() string {
	if dir := os.Getenv("PMTRACE_CACHE"); dir != "" {
		return dir
	}
	dir, _ := os.UserCacheDir()
	return filepath.Join(dir, "pmtrace")
}
