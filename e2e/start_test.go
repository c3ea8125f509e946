//go:build e2e

package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pmtrace/pmtrace/decode"
	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/journal"
)

// record starts a server by pmtrace record, and returns when it answers.
func (b *bench) record(t *testing.T, name string, flags ...string) *server {
	t.Helper()
	s := &server{bench: b, out: filepath.Join(b.out, name), python: b.python}
	fresh(t, s.out)
	s.log = filepath.Join(s.out, "server.log")
	log, err := os.Create(s.log)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	port := strings.TrimSpace(b.script(t, "bash", "-c", ". e2e/environment.sh; free_port"))
	command := strings.Fields(b.script(t, "e2e/serve.sh", append([]string{"command", b.version, port}, flags...)...))
	run := append([]string{"-c", `. e2e/environment.sh; exec "$@"`, "record", b.pmtrace, "record", "--output-dir", s.out, "--"}, command...)
	tr := &tracer{bench: b, cmd: exec.Command("bash", run...), done: make(chan struct{})}
	tr.cmd.Dir, tr.cmd.Stdout, tr.cmd.Stderr = b.repo, log, io.MultiWriter(&tr.stderr, log)
	if err := tr.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = tr.cmd.Wait(); close(tr.done) }()
	t.Cleanup(func() {
		_ = tr.cmd.Process.Signal(os.Interrupt)
		if !tr.await(60 * time.Second) {
			_ = tr.cmd.Process.Kill()
		}
	})
	s.tracer, s.url = tr, "http://127.0.0.1:"+port
	tr.answers(t, s.url)
	return s
}

// answers waits until the server that it started does.
func (tr *tracer) answers(t *testing.T, url string) {
	t.Helper()
	for until := time.Now().Add(300 * time.Second); time.Now().Before(until); {
		if r, err := http.Get(url + "/health"); err == nil {
			r.Body.Close()
			if r.StatusCode == http.StatusOK {
				return
			}
		}
		if tr.await(300 * time.Millisecond) {
			break
		}
	}
	t.Fatalf("the recorded server does not answer: %s", tr.stderr.String())
}

// inProcess is a program with an engine of its own.
type inProcess struct {
	in  io.WriteCloser
	out *bufio.Scanner
}

// inProcess starts it, and returns when the engine is there.
func (b *bench) inProcess(t *testing.T, name string) *server {
	t.Helper()
	s := &server{bench: b, out: filepath.Join(b.out, name), python: b.python, ask: &inProcess{}}
	fresh(t, s.out)
	s.log = filepath.Join(s.out, "server.log")
	log, err := os.Create(s.log)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	c := exec.Command("bash", "-c", `. e2e/environment.sh; exec "$@"`, "in-process", b.python, "e2e/inprocess.py", filepath.Join(s.out, "load.jsonl"))
	c.Dir, c.Stderr, c.Env = b.repo, log, append(os.Environ(), "VLLM_ENABLE_V1_MULTIPROCESSING=0", "VLLM_LOGGING_STREAM=ext://sys.stderr")
	if s.ask.in, err = c.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	s.ask.out = bufio.NewScanner(out)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.ask.in.Close(); _ = c.Process.Kill(); _ = c.Wait() })
	s.pid = c.Process.Pid
	s.ask.says(t, "ready")
	return s
}

func (p *inProcess) says(t *testing.T, word string) {
	t.Helper()
	for p.out.Scan() {
		if p.out.Text() == word {
			return
		}
	}
	t.Fatalf("the program ended without %q", word)
}

// generate has it answer its prompts.
func (s *server) generate(t *testing.T) {
	t.Helper()
	fmt.Fprintln(s.ask.in, "go")
	s.ask.says(t, "done")
}

// startOf is a session's zero on CLOCK_MONOTONIC.
func startOf(t *testing.T, session string) time.Duration {
	t.Helper()
	r, err := journal.Open(os.DirFS(filepath.Join(session, "journal")))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	rec, err := r.Next()
	var f record.Fact
	if err == nil {
		err = json.Unmarshal(rec.Payload, &f)
	}
	if err != nil || rec.Kind != decode.RecordFact || f.Start == nil {
		t.Fatalf("the journal does not begin with its start: %v", err)
	}
	return time.Duration(f.Start.MonoNS)
}
