package main

import (
	"bytes"
	"io"
	"log/slog"
	"sync"
)

// maxEarlyLog bounds what is kept before the session is there.
const maxEarlyLog = 1 << 20

// sessionLog keeps the log until the session's file is there to take it.
type sessionLog struct {
	mu    sync.Mutex
	early bytes.Buffer
	file  io.Writer
	also  io.Writer // with --verbose
}

func newLog(also io.Writer, verbose bool) (*slog.Logger, *sessionLog) {
	l := &sessionLog{}
	level := slog.LevelInfo
	if verbose {
		l.also, level = also, slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: level})), l
}

func (l *sessionLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.also != nil {
		_, _ = l.also.Write(b)
	}
	switch {
	case l.file != nil:
		_, _ = l.file.Write(b) // a full disk must not end tracing here
	case l.early.Len() < maxEarlyLog:
		l.early.Write(b)
	}
	return len(b), nil
}

func (l *sessionLog) to(file io.Writer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if file != nil {
		_, _ = file.Write(l.early.Bytes())
	}
	l.early = bytes.Buffer{}
	l.file = file
}
