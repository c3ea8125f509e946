//go:build e2e

package e2e

import (
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	client "github.com/pmtrace/pmtrace/cmd/pmtrace/load"
	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/session"
)

// TestProfile has pmtrace start a server, put it under load and end it: what the clients
// of the load counted is in the tables, request by request.
func TestProfile(t *testing.T) {
	full(t)
	b := newBench(t)
	s := &server{bench: b, out: filepath.Join(b.out, "profile"), python: b.python}
	fresh(t, s.out)
	s.log = filepath.Join(s.out, "server.log")
	port := strings.TrimSpace(b.script(t, "bash", "-c", ". e2e/environment.sh; free_port"))
	command := strings.Fields(b.script(t, "e2e/serve.sh", "command", b.version, port))
	run := append([]string{"-c", `. e2e/environment.sh; exec "$@"`, "profile", b.pmtrace, "profile", "--output-dir", s.out,
		"--load-requests", "120", "--load-concurrency", "8", "--load-prompt", "16:300", "--load-output", "8:96", "--"}, command...)
	tr := &tracer{bench: b, cmd: exec.Command("bash", run...), done: make(chan struct{})}
	tr.cmd.Dir, tr.cmd.Stderr = b.repo, io.MultiWriter(&tr.stderr)
	if err := tr.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = tr.cmd.Wait(); close(tr.done) }()
	t.Cleanup(func() { _ = tr.cmd.Process.Signal(os.Interrupt) })
	if !tr.await(400 * time.Second) {
		t.Fatalf("profile does not end: %s", tr.stderr.String())
	}
	tr.ends(t, 0, "server_exited")
	s.truth(t, tr, "--fresh")
	sameLoad(t, tr.session(t))
	report := filepath.Join(tr.session(t), "profile_report.html")
	if page, err := os.ReadFile(report); err != nil || !strings.HasPrefix(string(page), "<!doctype html>") {
		t.Errorf("the report: %v", err)
	}
	if said := tr.stderr.String(); !strings.Contains(said, "pmtrace: "+report+" written; open it in a browser") {
		t.Errorf("profile does not say where the report is: %s", said)
	}
}

// sameLoad compares load.json with the table of requests.
func sameLoad(t *testing.T, path string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(path, "load.json"))
	if err != nil {
		t.Fatal(err)
	}
	var kept struct {
		Figures  client.Figures   `json:"figures"`
		Requests []client.Request `json:"requests"`
	}
	if err := json.Unmarshal(data, &kept); err != nil {
		t.Fatal(err)
	}
	if kept.Figures.Requests != 120 || kept.Figures.Failed != 0 || len(kept.Requests) != 120 {
		t.Fatalf("load.json: %+v", kept.Figures)
	}
	dir, err := session.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	traced := map[string]record.RequestRow{}
	for r, err := range session.Rows[record.RequestRow](dir) {
		if err != nil {
			t.Fatal(err)
		}
		traced[r.ExternalID] = *r
	}
	for _, q := range kept.Requests {
		r, ok := traced[q.ID+"-0"] // the first prompt of the call
		if !ok || r.PromptTokens == nil || r.OutputTokens == nil || int(*r.PromptTokens) != q.Prompt || int(*r.OutputTokens) != q.Output {
			t.Errorf("request %s: the client has %d and %d tokens, the table %+v", q.ID, q.Prompt, q.Output, r)
		}
	}
}
