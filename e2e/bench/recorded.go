package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// measureRecord compares a server that pmtrace record started with a plain one:
// two processes, loaded in turn.
func measureRecord(ctx context.Context, plain *subject) (Arm, error) {
	b := plain.bench
	recorded, stop, err := startRecorded(ctx, b)
	if err != nil {
		return Arm{}, err
	}
	defer stop()
	var seen []round
	order := rand.New(rand.NewPCG(5, 6))
	for n := range pick(b, 8, 2) {
		var r round
		first := order.IntN(2) == 0
		for _, traced := range []bool{first, !first} {
			into, s := &r.without, plain
			if traced {
				into, s = &r.with, recorded
			}
			if *into, err = s.loaded(ctx); err != nil {
				return Arm{}, err
			}
		}
		seen = append(seen, r)
		b.say("  pair %d of record: %.1f with, %.1f without", n+1, r.with.rate, r.without.rate)
	}
	return arm("`pmtrace record`", "the server started by it", seen), nil
}

// loaded is one stretch under a load of its own.
func (t *subject) loaded(ctx context.Context) (stretch, error) {
	stop, err := t.load(ctx)
	if err != nil {
		return stretch{}, err
	}
	defer stop()
	return t.look(ctx)
}

// startRecorded starts a server by pmtrace record, and returns when it answers.
func startRecorded(ctx context.Context, b *bench) (*subject, func(), error) {
	const script = `. e2e/environment.sh; port=$(free_port); echo "$port"; e2e/serve.sh command "$1" "$port" "${@:2}"`
	out, err := exec.CommandContext(ctx, "bash", slices.Concat([]string{"-c", script, "bash", b.vllm}, serverArgs)...).Output()
	if err != nil {
		return nil, nil, fmt.Errorf("e2e/serve.sh command: %w", err)
	}
	port, command, _ := strings.Cut(string(out), "\n")
	args := append([]string{"-c", `. e2e/environment.sh; exec "$@"`, "bash", "./pmtrace", "record", "--output-dir", filepath.Join(b.work, "record"),
		"--log-interval", "0", "--"}, strings.Fields(command)...)
	cmd := exec.Command("bash", args...)
	cmd.Env = append(os.Environ(), serverEnv...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		return nil, nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	stop := func() {
		_ = cmd.Process.Signal(syscall.SIGINT)
		select {
		case err := <-ended:
			_ = err // that of the server's end
		case <-time.After(time.Minute):
			_ = cmd.Process.Kill()
		}
	}
	t := &subject{server: &server{bench: b, url: "http://127.0.0.1:" + port}}
	if err := t.answers(ctx, ended); err != nil {
		stop()
		return nil, nil, fmt.Errorf("pmtrace record: %w: %s", err, said.String())
	}
	if err := t.find(cmd.Process.Pid); err != nil {
		stop()
		return nil, nil, err
	}
	return t, stop, nil
}

// answers waits until the server does.
func (t *subject) answers(ctx context.Context, ended chan error) error {
	for until := time.Now().Add(5 * time.Minute); time.Now().Before(until); {
		if resp, err := http.Get(t.url + "/health"); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case err := <-ended:
			ended <- err
			return fmt.Errorf("it ended: %w", err)
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(300 * time.Millisecond):
		}
	}
	return errors.New("no answer in 5 minutes")
}

// find looks for the server among a process's children.
func (t *subject) find(parent int) error {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", parent, parent))
	if err != nil {
		return err
	}
	for child := range strings.FieldsSeq(string(b)) {
		if t.pid, err = strconv.Atoi(child); err != nil {
			return err
		}
		if t.enginePID, err = t.engine(); err == nil {
			return nil
		}
	}
	return errors.New("pmtrace record has no server among its children")
}
