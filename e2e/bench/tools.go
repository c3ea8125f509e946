package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// tool is one way of looking at a running server.
type tool struct {
	name, how string
	start     func(context.Context, *subject) (*looking, error)
}

// subject is the server that tools look at.
type subject struct {
	*server
	enginePID int
	inside    string // where what runs in the engine writes
}

// looking is a tool at work.
type looking struct {
	pid  int // its own process; 0: it has none
	stop func() error
}

// tools that one server can bear in turn. The first does nothing: the noise.
var tools = []tool{
	{"nothing", "the same stretch, nothing done in it: what noise looks like", startNothing},
	{"`pmtrace attach`", "every profiler of its default, journal and tables written", startAttach},
	{"polling, 1 s", "GET /metrics each second", polling(time.Second)},
	{"polling, 100 ms", "GET /metrics ten times a second", polling(100 * time.Millisecond)},
	{"py-spy, 100 Hz", "`py-spy record -r 100` of the engine's process", startPySpy},
	{"wrappers in Python", "vLLM's methods patched from inside, a CSV row a call: profilemate's technique ([written anew](inside/sitecustomize.py), without its GPU synchronisations)", bySignal(syscall.SIGUSR1, "batch_utilization.*.csv")},
	{"cProfile", "in the engine's main thread; a running server has no way to it: the same file on PYTHONPATH lets it in", bySignal(syscall.SIGUSR2, "cprofile.*.pstats")},
}

// torchProfiler ends so slowly that it is measured only when asked for.
var torchProfiler = tool{"torch profiler", "vLLM's own, by /start_profile (the server was started with --profiler-config), with its default of Python stacks", startTorch}

func startNothing(context.Context, *subject) (*looking, error) {
	return &looking{stop: func() error { return nil }}, nil
}

func startAttach(ctx context.Context, t *subject) (*looking, error) {
	tr, err := attach(ctx, t.bench, t.pid)
	if err != nil {
		return nil, err
	}
	return &looking{pid: tr.pid(), stop: func() error { return errors.Join(tr.stop(), tr.noneLost()) }}, nil
}

func polling(every time.Duration) func(context.Context, *subject) (*looking, error) {
	return func(ctx context.Context, t *subject) (*looking, error) {
		ctx, cancel := context.WithCancel(ctx)
		ended := make(chan error, 1)
		go func() { ended <- t.poll(ctx, every) }()
		return &looking{stop: func() error { cancel(); return <-ended }}, nil
	}
}

func (t *subject) poll(ctx context.Context, every time.Duration) error {
	for {
		resp, err := http.Get(t.url + "/metrics")
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if err != nil {
			return err
		}
		if sleep(ctx, every) != nil {
			return nil //nolint:nilerr // its end
		}
	}
}

func startPySpy(_ context.Context, t *subject) (*looking, error) {
	out := filepath.Join(t.bench.work, "py-spy.raw")
	cmd := exec.Command(filepath.Join(cache(), "profilers", "bin", "py-spy"), "record", "-r", "100", "-f", "raw", "-o", out,
		"--pid", strconv.Itoa(t.enginePID), "-d", "3600")
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("py-spy (e2e/setup/profilers.sh): %w", err)
	}
	time.Sleep(time.Second) // it reads the program's symbols
	return &looking{pid: cmd.Process.Pid, stop: func() error {
		if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
			return err
		}
		if err := cmd.Wait(); err != nil {
			return fmt.Errorf("py-spy: %w: %s", err, said.String())
		}
		if st, err := os.Stat(out); err != nil || st.Size() == 0 {
			return fmt.Errorf("py-spy saw nothing: %w: %s", err, said.String())
		}
		return os.Remove(out)
	}}, nil
}

// bySignal has inside/sitecustomize.py begin, and end; files are what it then has written.
func bySignal(sig syscall.Signal, files string) func(context.Context, *subject) (*looking, error) {
	return func(_ context.Context, t *subject) (*looking, error) {
		if err := syscall.Kill(t.enginePID, sig); err != nil {
			return nil, err
		}
		return &looking{stop: func() error {
			if err := syscall.Kill(t.enginePID, sig); err != nil {
				return err
			}
			time.Sleep(500 * time.Millisecond)
			return t.wrote(files)
		}}, nil
	}
}

// wrote fails unless there are such files with something in them; removes what is there.
func (t *subject) wrote(files string) error {
	found, err := filepath.Glob(filepath.Join(t.inside, files))
	if err == nil && len(found) == 0 {
		err = fmt.Errorf("no %s was written: %w", files, fs.ErrNotExist)
	}
	if err != nil {
		return err
	}
	for _, f := range found {
		if st, err := os.Stat(f); err != nil || st.Size() < 1000 {
			return fmt.Errorf("nothing was seen in %s (%w)", f, err)
		}
	}
	all, err := filepath.Glob(filepath.Join(t.inside, "*"))
	for _, f := range all {
		err = errors.Join(err, os.RemoveAll(f))
	}
	return err
}

func startTorch(_ context.Context, t *subject) (*looking, error) {
	if err := t.post("/start_profile"); err != nil {
		return nil, err
	}
	return &looking{stop: func() error {
		if err := t.post("/stop_profile"); err != nil {
			return err
		}
		return t.wrote("*trace.json*")
	}}, nil
}

func (t *subject) post(path string) error {
	client := http.Client{Timeout: 3 * time.Minute}
	resp, err := client.Post(t.url+path, "application/json", nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", path, resp.Status)
	}
	return nil
}
