package main

import (
	"context"
	"fmt"
	"os/exec"

	"github.com/pmtrace/pmtrace/e2e/kept"
)

// Comparison is pmtrace beside other ways to look into a server: comparison.json.
type Comparison struct {
	Tools  *Tools  `json:"tools,omitempty"`
	Record *Record `json:"record,omitempty"`
	Own    *Own    `json:"own,omitempty"`
}

// Tools are what each of them costs one and the same server.
type Tools struct {
	Where
	Requests int       `json:"requests"`
	Seconds  float64   `json:"seconds_each"`
	Rate     float64   `json:"tokens_per_s_without"`
	Arms     []Arm     `json:"arms"`
	Missing  []Missing `json:"not_measured"`
}

// Record is what a server costs that pmtrace record has started.
type Record struct {
	Where
	Arm
}

// Own is pmtrace's own speed and size, against a program of vLLM's shape.
type Own struct {
	Where
	Tracer *TracerCost `json:"tracer"`
	Long   *Long       `json:"long"`
	Decode *Decode     `json:"decode"`
}

// Where says on what machine, and what else it did.
type Where struct {
	Machine Machine   `json:"machine"`
	Beside  string    `json:"beside"`       // what else ran on it, as who ran this says
	Loads   [2]string `json:"load_average"` // before and after
}

// Missing is a tool that could not be measured here.
type Missing struct {
	Tool string `json:"tool"`
	Why  string `json:"why"`
}

// compare measures all parts, or only one: the others' figures stay.
func (b *bench) compare(ctx context.Context, dir, only, beside string) error {
	c, err := readComparison(dir)
	if err != nil {
		return err
	}
	at := Where{Beside: beside}
	if at.Machine, err = thisMachine(b.vllm, b.quick); err != nil {
		return err
	}
	parts := []struct {
		name    string
		measure func() error
	}{
		{"tools", func() error {
			c.Tools = &Tools{Where: at}
			return c.Tools.measure(ctx, b, func() error { return c.write(dir) })
		}},
		{"record", func() error { c.Record = &Record{Where: at}; return c.Record.measure(ctx, b) }},
		{"own", func() error { c.Own = &Own{Where: at}; return c.Own.measure(ctx, b) }},
	}
	found := false
	for _, p := range parts {
		if only != "" && only != p.name {
			continue
		}
		found = true
		b.say("%s", p.name)
		if err := p.measure(); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		if err := c.write(dir); err != nil {
			return err
		}
	}
	if !found {
		return fmt.Errorf("no part %s of the comparison: tools, record or own", only)
	}
	return nil
}

func (c *Tools) measure(ctx context.Context, b *bench, done func() error) error {
	c.Requests, c.Seconds, c.Loads[0] = serverRequests, stretchTime.Seconds(), loadAverage()
	s, err := startSubject(ctx, b)
	if err != nil {
		return err
	}
	defer s.stop()
	missing := []Missing{{"nsys", nsys(ctx)}, {"CUPTI's sampling", "no GPU in this machine"}}
	if !b.torch {
		missing = append(missing, Missing{torchProfiler.name, torchEnds})
	}
	return measureTools(ctx, s, c, func() error {
		c.Missing = append(c.Missing, missing...)
		c.Loads[1] = loadAverage()
		return done()
	})
}

// torchEnds is why the torch profiler takes no part by default.
const torchEnds = "of one stretch of 2 s (2026-11-27, load average 14) it had not written its traces 100 s after the word to stop, in which the server made no token, and its worker had taken 14 GB of memory (`-torch` measures it)"

func (r *Record) measure(ctx context.Context, b *bench) (err error) {
	r.Loads[0] = loadAverage()
	plain, err := startSubject(ctx, b)
	if err != nil {
		return err
	}
	defer plain.stop()
	r.Arm, err = measureRecord(ctx, plain)
	r.Loads[1] = loadAverage()
	return err
}

func (o *Own) measure(ctx context.Context, b *bench) error {
	o.Loads[0] = loadAverage()
	b.results, b.longSteps = &Results{}, min(b.longSteps, 60e3)
	for _, measure := range []func(context.Context, *bench, *server) error{measureTracer, measureLong, measureDecode} {
		if err := measure(ctx, b, nil); err != nil {
			return err
		}
	}
	o.Tracer, o.Long, o.Decode = b.results.Tracer, b.results.Long, b.results.Decode
	o.Loads[1] = loadAverage()
	return nil
}

// nsys says whether NVIDIA's Nsight Systems can be had here.
func nsys(ctx context.Context) string {
	if path, err := exec.LookPath("nsys"); err == nil {
		return "it is at " + path + ", but starts the server itself, and sees nothing of vLLM without a GPU"
	}
	if out, err := exec.CommandContext(ctx, "apt-cache", "show", "nsight-systems").Output(); err == nil && len(out) > 0 {
		return "it is in apt's sources, but was not installed"
	}
	return "not on the PATH, no package nsight-systems in apt's sources; PyPI has none either (asked on 2026-11-27 for nsight-systems, nsight-systems-cli and nvidia-nsight-systems)"
}

const comparisonName = "comparison" // .json, and .md in capitals

func readComparison(dir string) (*Comparison, error) {
	c := &Comparison{}
	return c, kept.Read(dir, comparisonName, c)
}

func (c *Comparison) write(dir string) error { return kept.Write(dir, comparisonName, c, c.markdown()) }
