package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/pmtrace/pmtrace/decode"
	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/journal"
)

// Decode is how fast a journal becomes tables, in rows of step_requests a
// second: one a request and step.
type Decode struct {
	Rows    int64 `json:"step_requests"`
	AllRows int64 `json:"rows_of_all_tables"`
	Runs    int   `json:"runs"`
	// In one process: journal read, decoded and joined, rows dropped.
	Pipeline float64 `json:"pipeline_rows_per_s"`
	// The command, with Parquet, and with all files.
	Parquet float64 `json:"parquet_rows_per_s"`
	Files   float64 `json:"all_files_rows_per_s"`
	// What the command with Parquet takes of the processors: seconds of one.
	CPU float64 `json:"parquet_cpu_s"`
	// The most memory that the command has had.
	PeakMiB float64 `json:"peak_rss_mib"`
}

// measureDecode takes the long run's session.
func measureDecode(ctx context.Context, b *bench, _ *server) error {
	session := filepath.Join(b.work, "recorded")
	if _, err := os.Stat(session); err != nil {
		return errors.New("it takes the session of long: measure both")
	}
	r := &Decode{Runs: pick(b, 3, 1)}
	var pipeline, tables, files, cpu []float64
	for range r.Runs {
		began := time.Now()
		rows, err := pipe(session)
		if err != nil {
			return err
		}
		r.Rows, r.AllRows = rows.stepRequests, rows.Rows
		pipeline = append(pipeline, float64(r.Rows)/time.Since(began).Seconds())
		for _, c := range []struct {
			into *[]float64
			args []string
		}{{&files, []string{"decode", session}}, {&tables, []string{"decode", "--no-csv", session}}} {
			u, err := command(ctx, c.args...)
			if err != nil {
				return err
			}
			r.PeakMiB = max(r.PeakMiB, u.rss/(1<<20))
			*c.into = append(*c.into, float64(r.Rows)/u.took.Seconds())
			if c.into == &tables {
				cpu = append(cpu, u.cpu.Seconds())
			}
		}
	}
	r.Pipeline, r.Parquet, r.Files, r.CPU = median(pipeline), median(tables), median(files), median(cpu)
	b.results.Decode = r
	return nil
}

// used is what a command took.
type used struct {
	took, cpu time.Duration
	rss       float64 // the most, in bytes
}

// command runs pmtrace.
func command(ctx context.Context, args ...string) (u used, err error) {
	var said bytes.Buffer
	cmd := exec.CommandContext(ctx, "./pmtrace", args...)
	cmd.Stdout, cmd.Stderr = &said, &said
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return u, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case err := <-ended:
			if err != nil {
				return u, fmt.Errorf("pmtrace %s: %w: %s", args[0], err, said.String())
			}
			u.took, u.cpu = time.Since(began), cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime()
			return u, nil
		case <-time.After(20 * time.Millisecond):
		}
		if now, err := peakRSS(cmd.Process.Pid); err == nil {
			u.rss = now
		}
	}
}

// pipe reads, decodes and joins a journal, as the tracer does live.
func pipe(session string) (*dropped, error) {
	r, err := journal.Open(os.DirFS(filepath.Join(session, "journal")))
	if err != nil {
		return nil, err
	}
	defer r.Close()
	rows := &dropped{}
	p := decode.NewPipeline(rows, decode.Options{})
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			_, err := p.Close()
			return rows, err
		}
		if err != nil {
			return nil, err
		}
		if err := p.Record(rec.Kind, rec.Payload); err != nil {
			return nil, err
		}
	}
}

// dropped counts rows.
type dropped struct {
	record.Discard
	stepRequests int64
}

func (d *dropped) StepRequest(*record.StepRequestRow) error {
	d.stepRequests++
	return d.Discard.StepRequest(nil)
}
