package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pmtrace/pmtrace/cupti/gpu"
	"github.com/pmtrace/pmtrace/cupti/sampler"
	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/session"
)

// realGPUs is gpu.Monitor behind our interface.
type realGPUs struct{ *gpu.Monitor }

func openGPUs() (gpuMonitor, error) {
	m, err := gpu.Open(gpu.Options{})
	if err != nil {
		return nil, err
	}
	return realGPUs{m}, nil
}

func (g realGPUs) Use(pids []int) (devices []record.GPU, note string, err error) {
	g.Monitor.Use(pids)
	devices = g.Devices()
	if len(devices) == 0 {
		return nil, "", errors.New("the driver shows no device")
	}
	return devices, strings.Join(g.Notes(), "; "), nil
}

// Losses counts what the driver did not give; a whole sample is a loss, a value that
// a device does not have is none.
func (g realGPUs) Losses() []record.Loss {
	var out []record.Loss
	for _, f := range g.Failures() {
		out = append(out, record.Loss{
			Engine: -1, Probe: fmt.Sprintf("gpu_samples/%d/%s", f.Index, f.Call), Reason: f.Reason, Count: f.Count, Lost: f.Call == gpu.CallSample,
		})
	}
	return out
}

// samplerCommandName is our own hidden subcommand: the process that loads NVIDIA's
// library.
const samplerCommandName = "gpu-sampler"

// realSampler is sampler.Session behind our interface.
type realSampler struct{ *sampler.Session }

// Run says first what is not sampled.
func (s realSampler) Run(ctx context.Context, fact func(record.Fact) error, counters func([]byte) error) error {
	for _, u := range leftOut(s.Sampler.Index, s.LeftOut) {
		_ = fact(record.Fact{Unavailable: &u}) // what keeps it from being written keeps Run's own facts, too
	}
	return s.Session.Run(ctx, fact, counters)
}

func leftOut(index int, list []sampler.LeftOut) []record.Unavailable {
	var out []record.Unavailable
	for _, l := range list {
		out = append(out, record.Unavailable{
			Profiler: session.GPUSampling, Columns: []string{session.TableGPUCounters + "." + l.Metric},
			Reason: fmt.Sprintf("GPU %d: %s", index, l.Why),
		})
	}
	return out
}

func startSampler(ctx context.Context, o samplerOptions) (gpuSampler, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	s, err := sampler.Start(ctx, sampler.Options{
		Command: []string{self, samplerCommandName}, PID: o.pid, Device: o.device, PeakDRAM: o.peakDRAM,
		Mode: o.mode, Log: o.log,
	})
	if err != nil {
		return nil, err
	}
	return realSampler{s}, nil
}

func (a *app) samplerCommand() *cobra.Command {
	return &cobra.Command{
		Use: samplerCommandName, Hidden: true, Args: cobra.NoArgs,
		Short: "The process that reads a GPU's hardware counters",
		RunE: func(c *cobra.Command, _ []string) error {
			if sampler.Main(c.Context(), a.stdin, a.stdout) != nil {
				return exitCode(exitFailed) // said to the other side
			}
			return nil
		},
	}
}
