package main

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/pmtrace/pmtrace/probes/target"
)

// server is a real vLLM on the CPU with a tiny model.
type server struct {
	pid   int
	url   string
	bench *bench
}

// The engine runs the model itself, as that of a server with one GPU does. Left to itself vLLM puts a worker
// beside it on a CPU, and the two wait for each other by sched_yield: on two cores whatever runs beside them,
// be it the load or a process that only sleeps, then waits for seconds now and again, with a tool or without.
var (
	serverArgs = []string{"--distributed-executor-backend", "uni"}
	serverEnv  = []string{"VLLM_ENABLE_V1_MULTIPROCESSING=0", "OMP_NUM_THREADS=1"}
)

// startServer starts it with more in its environment and arguments.
func startServer(ctx context.Context, b *bench, env []string, args ...string) (*server, error) {
	cmd := exec.CommandContext(ctx, "e2e/serve.sh",
		slices.Concat([]string{"start", b.vllm, filepath.Join("build", "bench-server.log")}, serverArgs, args)...)
	cmd.Stderr, cmd.Env = os.Stderr, slices.Concat(os.Environ(), serverEnv, env)
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("e2e/serve.sh: %w", err)
	}
	pid, port, _ := strings.Cut(strings.TrimSpace(string(out)), " ")
	s := &server{bench: b, url: "http://127.0.0.1:" + port}
	if s.pid, err = strconv.Atoi(pid); err != nil {
		return nil, fmt.Errorf("e2e/serve.sh printed %q", out)
	}
	return s, nil
}

func (s *server) stop() { _ = exec.Command("e2e/serve.sh", "stop", strconv.Itoa(s.pid)).Run() }

// engine is the process that schedules.
func (s *server) engine() (int, error) {
	tree, err := target.Host().Tree(s.pid)
	if err != nil {
		return 0, err
	}
	engines := tree.Engines()
	if len(engines) != 1 {
		return 0, fmt.Errorf("the server has %d engines", len(engines))
	}
	return engines[0].PID, nil
}

// load keeps 16 requests decoding, until stopped. Outputs are long: steps with
// prompts are few.
func (s *server) load(ctx context.Context) (stop func(), err error) {
	cmd := exec.CommandContext(ctx, filepath.Join(cache(), "vllm-"+s.bench.vllm, "bin", "python"), "e2e/load/load.py",
		"--url", s.url, "--out", filepath.Join(s.bench.work, "load.jsonl"), "-c", strconv.Itoa(serverRequests), "-n", "6000",
		"-i", "128", "-o", "512:1536", "--stream-fraction", "0", "--id-prefix", "bench")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	time.Sleep(4 * time.Second) // until all are decoding
	return func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		time.Sleep(time.Second) // for the server to notice
	}, nil
}

const serverRequests = 16

// counts are the server's own counters at a time.
type counts struct {
	at            time.Time
	steps, tokens float64
	gaps, gapSum  float64 // between tokens of a request, in seconds
}

func (s *server) counts() (counts, error) {
	c := counts{at: time.Now()}
	resp, err := http.Get(s.url + "/metrics")
	if err != nil {
		return c, err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		name, _, _ = strings.Cut(name, "{")
		into := map[string]*float64{
			"vllm:generation_tokens_total":           &c.tokens,
			"vllm:iteration_tokens_total_count":      &c.steps,
			"vllm:inter_token_latency_seconds_sum":   &c.gapSum,
			"vllm:inter_token_latency_seconds_count": &c.gaps,
		}[name]
		if into == nil {
			continue
		}
		// The value is last: labels may have spaces.
		fields := strings.Fields(value)
		v, err := strconv.ParseFloat(fields[len(fields)-1], 64)
		if err != nil {
			return c, err
		}
		*into += v
	}
	return c, lines.Err()
}
