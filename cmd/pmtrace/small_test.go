package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-quicktest/qt"

	"github.com/pmtrace/pmtrace/probes/target"
)

func TestChooseProfilers(t *testing.T) {
	for _, c := range []struct{ want, not, on, err string }{
		{"", "", "batch cpu forward_pass kv_cache preemption cuda_graph encoder_decoder gpu", ""},
		{"kv_cache batch", "", "batch kv_cache", ""},
		{"", "cpu moe gpu", "batch forward_pass kv_cache preemption cuda_graph encoder_decoder", ""},
		{"moe", "", "", "profiler moe is none that is chosen by name; choose from batch, cpu"},
		{"kvcache", "", "", `no profiler is called "kvcache": there are batch, cpu`},
		{"", "x", "", `no profiler is called "x"`},
		{"batch", "batch", "", "all profilers are switched off"},
	} {
		on, err := chooseProfilers(strings.Fields(c.want), strings.Fields(c.not))
		if c.err == "" {
			qt.Check(t, qt.IsNil(err))
		} else {
			qt.Check(t, qt.ErrorMatches(err, c.err+".*"))
		}
		qt.Check(t, qt.Equals(strings.Join(on, " "), c.on))
	}
}

func TestSizes(t *testing.T) {
	for in, want := range map[string]string{
		"8MiB": "8MiB", "65536": "64KiB", "64k": "64KiB", "1G": "1024MiB", "4096": "4KiB", "4096b": "4KiB",
		"": "error", "5000": "error", "2048": "error", "x": "error", "-1": "error", "8Mb8": "error", "2GiB": "error",
	} {
		var s size
		got := "error"
		if s.Set(in) == nil {
			got = s.String()
		}
		qt.Check(t, qt.Equals(got, want), qt.Commentf("%q", in))
	}
}

func TestSeconds(t *testing.T) {
	for in, want := range map[string]time.Duration{"90": 90 * time.Second, "1.5": 1500 * time.Millisecond, "2m": 2 * time.Minute, "0": 0, "-1": 0, "x": 0, "NaN": 0} {
		var s seconds
		err := s.Set(in)
		qt.Check(t, qt.Equals(time.Duration(s), want), qt.Commentf("%q", in))
		qt.Check(t, qt.Equals(err == nil, want != 0), qt.Commentf("%q", in))
	}
}

func TestEnvironment(t *testing.T) {
	for _, c := range []struct {
		env  string
		args string
		want string
	}{
		{"PMTRACE_DURATION=5", "", "duration=5s"},
		{"PMTRACE_DURATION=5", "--duration=6", "duration=6s"},
		{"VLLM_PROFILING_LOG_INTERVAL=7", "", "log-interval=7"},
		{"VLLM_PROFILING_LOG_INTERVAL=7 PMTRACE_LOG_INTERVAL=8", "", "log-interval=8"},
		{"VLLM_PROFILING_VERBOSE=1", "", "verbose=true"},
		{"PMTRACE_NO_CSV=yes", "", "no-csv=true"},
		{"PMTRACE_PROFILERS=cpu,batch", "", "profilers=[cpu,batch]"},
		{"PMTRACE_RING_SIZE=64k", "", "ring-size=64KiB"},
		{"PMTRACE_DURATION=x", "", `error: PMTRACE_DURATION="x": want a time such as 30s, 5m or 1h30m`},
		{"PMTRACE_FORCE=maybe", "", `error: PMTRACE_FORCE="maybe"`},
	} {
		b := newBench(t)
		b.env = newEnvironment(strings.Fields(c.env))
		cmd := b.attachCommand()
		qt.Assert(t, qt.IsNil(cmd.ParseFlags(strings.Fields(c.args))))
		if err := b.env.apply(cmd); err != nil {
			qt.Check(t, qt.StringContains("error: "+err.Error(), c.want))
			continue
		}
		name, want, _ := strings.Cut(c.want, "=")
		qt.Check(t, qt.Equals(cmd.Flags().Lookup(name).Value.String(), want))
	}
}

// Every flag of attach can be said again to the privileged half.
func TestArguments(t *testing.T) {
	b := newBench(t)
	o := traceOptions{duration: seconds(90 * time.Second), noProfilers: []string{"cpu", "gpu"}, cudaCalls: []string{"memory", "copies"}, breakpoints: "cpus", gpuSampling: "windows", moe: "off", gpuInterval: seconds(time.Second), verbose: true, force: true, strict: true, noCSV: true, ringSize: 65536, logInterval: 5,
		monitorOptions: monitorOptions{prometheus: ":9464", otlp: "grpc://collector", otlpSteps: true}}
	qt.Assert(t, qt.IsNil(o.resolve(b.env)))
	cmd := b.followCommand()
	qt.Assert(t, qt.IsNil(cmd.ParseFlags(o.arguments())))
	for name, want := range map[string]string{
		"duration": "1m30s", "profilers": "[batch,forward_pass,kv_cache,preemption,cuda_graph,encoder_decoder]", "verbose": "true", "moe": "off",
		"cuda-calls": "[copies,memory]", "breakpoints": "cpus", "gpu-sampling": "windows", "gpu-interval": "1s", "force": "true",
		"strict": "true", "no-csv": "true", "ring-size": "64KiB", "log-interval": "5", "output-dir": b.env.get("PMTRACE_OUTPUT_DIR"),
		"prometheus": "127.0.0.1:9464", "otlp": "grpc://collector", "otlp-steps": "true",
	} {
		qt.Check(t, qt.Equals(cmd.Flags().Lookup(name).Value.String(), want))
	}
}

func TestStatus(t *testing.T) {
	var w bytes.Buffer
	s := newStatus(&w, "", false, 100)
	at := time.Unix(100, 0)
	for i, steps := range []int64{10, 99, 150, 160, 390, 400} {
		s.show(at.Add(time.Duration(i)*time.Second), progress{steps: steps, tokens: 10 * steps, running: 3, waiting: 1, kvUsed: 1, kvTotal: 8, lost: 2}, "")
	}
	s.done()
	qt.Check(t, qt.Equals(w.String(), `pmtrace: 150 steps, - tokens/s, 3 running, 1 waiting, KV 12.5 %, 2 events lost
pmtrace: 390 steps, 1200 tokens/s, 3 running, 1 waiting, KV 12.5 %, 2 events lost
pmtrace: 400 steps, 100 tokens/s, 3 running, 1 waiting, KV 12.5 %, 2 events lost
`))
	w.Reset()
	s = newStatus(&w, "server 7", true, 0)
	s.show(at, progress{steps: 1}, "")
	s.show(at.Add(time.Second), progress{steps: 2, tokens: 9}, "3 requests not sent")
	s.done()
	qt.Check(t, qt.Equals(w.String(), "\r\x1b[Kserver 7: 1 steps, - tokens/s, 0 running, 0 waiting, KV -, 0 events lost"+
		"\r\x1b[Kserver 7: 2 steps, 9 tokens/s, 0 running, 0 waiting, KV -, 0 events lost, 3 requests not sent\r\x1b[K"))
}

// servers is a /proc with servers of these PIDs.
func servers(t *testing.T, pids ...int) target.Proc {
	dir := t.TempDir()
	for _, pid := range pids {
		p := filepath.Join(dir, fmt.Sprint(pid))
		qt.Assert(t, qt.IsNil(os.MkdirAll(p, 0o755)))
		for name, content := range map[string]string{
			"stat":    fmt.Sprintf("%d (vllm) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 5 0", pid),
			"status":  fmt.Sprintf("Tgid:\t%d\n", pid),
			"cmdline": "python3\x00/v/bin/vllm\x00serve\x00org/m\x1b\x00",
		} {
			qt.Assert(t, qt.IsNil(os.WriteFile(filepath.Join(p, name), []byte(content), 0o644)))
		}
	}
	return target.Proc{Root: dir}
}

func TestChoose(t *testing.T) {
	b := newBench(t)
	b.world.proc = servers(t, 10)
	got, err := b.choose(nil, false)
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(got[0].Root, 10))

	for _, c := range []struct {
		pids []int
		args string
		code int
		want string
	}{
		{nil, "", exitImpossible, "no vLLM server runs here; start one"},
		{[]int{10, 20}, "", exitUsage, "2 vLLM servers run here: choose one with --pid: 10 (org/m?), 20 (org/m?)"},
		{[]int{10}, "--pid 99", exitImpossible, "cannot trace process 99: no such process; pmtrace ls lists"},
		{[]int{10}, "--pid 0", exitUsage, "--pid 0 is no process"},
		{[]int{10}, "--pid x", exitUsage, `invalid argument "x"`},
	} {
		b := newBench(t)
		b.world.proc = servers(t, c.pids...)
		qt.Check(t, qt.Equals(b.run(t.Context(), append([]string{"attach"}, strings.Fields(c.args)...)), c.code))
		qt.Check(t, qt.StringContains(b.err.String(), c.want))
		qt.Check(t, qt.Equals(strings.Count(b.err.String(), "\n"), 1))
	}
}

func TestLs(t *testing.T) {
	b := newBench(t)
	b.world.proc = servers(t, 10, 20)
	qt.Check(t, qt.Equals(b.run(t.Context(), []string{"ls"}), 0))
	qt.Check(t, qt.StringContains(b.out.String(), "10   -        1 api_server"))
	qt.Check(t, qt.StringContains(b.out.String(), "org/m?"))

	b = newBench(t)
	b.world.proc = servers(t)
	qt.Check(t, qt.Equals(b.run(t.Context(), []string{"ls", "--json"}), 0))
	qt.Check(t, qt.Equals(b.out.String(), "[]\n"))
}

func TestRootCause(t *testing.T) {
	inner := errors.New("inner")
	for _, err := range []error{inner, fmt.Errorf("a: %w", inner), errors.Join(errors.New("x"), fmt.Errorf("b: %w", inner))} {
		qt.Check(t, qt.Equals(rootCause(err).Error(), "inner"))
	}
}

func TestJoinCommand(t *testing.T) {
	qt.Check(t, qt.Equals(joinCommand([]string{"vllm", "serve", "a b", "it's", "", "x=1"}), `vllm serve 'a b' 'it'\''s' '' x=1`))
}
