//go:build e2e

package e2e

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// exposition is what a /metrics says: sums of counters, and of histograms' counts, by name
// and by one label's value.
type exposition map[string]float64

// metrics reads one. Names are as series have them: NAME, NAME{label=value}, NAME_count.
func metrics(t *testing.T, url string) exposition {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(io.Reader(resp.Body))
	if err != nil {
		t.Fatal(err)
	}
	all := exposition{}
	for name, f := range families {
		for _, m := range f.GetMetric() {
			if h := m.GetHistogram(); h != nil {
				all[name+"_count"] += float64(h.GetSampleCount())
				all[name+"_sum"] += h.GetSampleSum()
				continue
			}
			v := m.GetCounter().GetValue() + m.GetGauge().GetValue() + m.GetUntyped().GetValue()
			all[name] += v
			for _, l := range m.GetLabel() {
				all[name+"{"+l.GetName()+"="+l.GetValue()+"}"] += v
			}
		}
	}
	return all
}

// watchedLive compares what --prometheus serves, and what top shows beside, with what the
// server itself counts meanwhile.
func watchedLive(t *testing.T, s *server) {
	s = s.in(t)
	s.load(t, "first", "-c", "1", "-n", "1", "--seed", "20") // so that what is left to tell is of a small step
	before := metrics(t, s.url+"/metrics")
	tr := s.attach(t, "--prometheus", "127.0.0.1:0")
	url := regexp.MustCompile(`metrics at (http://\S+)`).FindStringSubmatch(tr.stderr.String())
	if url == nil {
		t.Fatalf("pmtrace does not say where its metrics are: %s", tr.stderr.String())
	}
	tr.says(t, "writing to")
	shown, err := os.Create(filepath.Join(s.out, "top.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer shown.Close()
	top := exec.Command(s.pmtrace, "top", "--json", tr.session(t))
	top.Stdout, top.Stderr = shown, os.Stderr
	if err := top.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = top.Process.Kill() }()
	s.load(t, "live", args(prefixes(), []string{"-c", "48", "-n", "300", "--seed", "21", "--eos-fraction", "0.2"})...)
	s.settle()
	own, after := metrics(t, url[1]), metrics(t, s.url+"/metrics")
	for ours, theirs := range map[string]string{
		"pmtrace_output_tokens_total":                       "vllm:generation_tokens_total",
		"pmtrace_request_prompt_tokens_sum":                 "vllm:prompt_tokens_total",
		"pmtrace_preemptions_total":                         "vllm:num_preemptions_total",
		"pmtrace_requests_finished_total{reason=length}":    "vllm:request_success_total{finished_reason=length}",
		"pmtrace_requests_finished_total{reason=stop}":      "vllm:request_success_total{finished_reason=stop}",
		"pmtrace_request_time_to_first_token_seconds_count": "vllm:time_to_first_token_seconds_count",
		"pmtrace_request_queue_duration_seconds_count":      "vllm:request_queue_time_seconds_count",
		"pmtrace_request_output_tokens_sum":                 "vllm:request_generation_tokens_sum",
	} {
		if got, want := own[ours], after[theirs]-before[theirs]; got != want {
			t.Errorf("%s: %v, and the server has %v (%s)", ours, got, want, theirs)
		}
	}
	// The server tells of a step's evictions with a later step: of the last one before us with
	// our first.
	const ours, theirs, ofAStep = "pmtrace_kv_cache_reused_blocks_total", "vllm:kv_block_lifetime_seconds_count", 4
	if got, want := own[ours], after[theirs]-before[theirs]; got > want || got < want-ofAStep {
		t.Errorf("%s: %v, and the server has %v (%s)", ours, got, want, theirs)
	}
	// A request is queued for us from its arrival, for vLLM from when the engine has it; its
	// first token is there for us when the engine hands it out, for vLLM when the front end
	// has it.
	delta := func(name string) float64 { return after[name] - before[name] }
	queue, first := own["pmtrace_request_queue_duration_seconds_sum"], own["pmtrace_request_time_to_first_token_seconds_sum"]
	shorter, longer := delta("vllm:request_queue_time_seconds_sum"), delta("vllm:time_to_first_token_seconds_sum")
	t.Logf("queue %.4f s, of it in the engine %.4f s; to the first token %.4f s, at the front end %.4f s", queue, shorter, first, longer)
	if queue < shorter || first > longer || first < 0.5*longer {
		t.Error("these are not in that order")
	}
	if own["pmtrace_lost_events_total"] != 0 || own["pmtrace_output_tokens_total"] == 0 {
		t.Errorf("lost %v, output tokens %v", own["pmtrace_lost_events_total"], own["pmtrace_output_tokens_total"])
	}
	tr.stop(t, 0)
	ended := make(chan error, 1)
	go func() { ended <- top.Wait() }()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("top does not see that the session has ended")
	}
	sameAsTop(t, shown.Name(), own)
}

// sameAsTop compares top's last line with the metrics.
func sameAsTop(t *testing.T, name string, own exposition) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	var last struct {
		State string           `json:"state"`
		Since map[string]int64 `json:"since_start"`
	}
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil {
		t.Fatal(err)
	}
	if last.State != "ended" || len(lines) < 5 {
		t.Errorf("%d lines, the last is %q", len(lines), last.State)
	}
	for ours, metric := range map[string]string{
		"tokens_out": "pmtrace_output_tokens_total", "tokens_in": "pmtrace_scheduled_tokens_total{kind=prefill}", "finished": "pmtrace_requests_finished_total",
		"preemptions": "pmtrace_preemptions_total", "kv_evictions": "pmtrace_kv_cache_evictions_total", "empty_steps": "pmtrace_steps_total{phase=empty}",
	} {
		if got, want := last.Since[ours], own[metric]; float64(got) != want {
			t.Errorf("top's %s: %d, and the metrics have %s", ours, got, strconv.FormatFloat(want, 'f', -1, 64))
		}
	}
}
