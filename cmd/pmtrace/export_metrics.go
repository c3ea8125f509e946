package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/live"
	"github.com/pmtrace/pmtrace/output/otlp"
	"github.com/pmtrace/pmtrace/output/prometheus"
	"github.com/pmtrace/pmtrace/output/session"
)

type exportPrometheusOptions struct{ file, format string }

func (a *app) exportPrometheusCommand() *cobra.Command {
	o := exportPrometheusOptions{format: string(prometheus.Text)}
	c := &cobra.Command{
		Use:   "prometheus SESSION",
		Short: "Print a session's totals and histograms as Prometheus has them",
		Long: `export prometheus prints the metrics that --prometheus serves while tracing, as they
are at the session's end.`,
		Example: "  pmtrace export prometheus /tmp/vllm_profiling/session_20261123_200354",
		Args:    oneSession("export prometheus"),
		RunE:    func(_ *cobra.Command, args []string) error { return a.exportPrometheus(args[0], o) },
	}
	c.Flags().StringVarP(&o.file, "output", "o", "", "file to write, packed if its name ends in .gz (default: stdout)")
	c.Flags().StringVar(&o.format, "format", o.format, fmt.Sprintf("%s or %s", prometheus.Text, prometheus.OpenMetrics))
	return c
}

func (a *app) exportPrometheus(path string, o exportPrometheusOptions) error {
	format := prometheus.Format(o.format)
	if !slices.Contains(prometheus.Formats(), format) {
		return usage("--format: %q is not one of %s, %s", o.format, prometheus.Text, prometheus.OpenMetrics)
	}
	dir, err := openSession(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	_, snapshot, err := totalsOf(dir)
	if err != nil {
		return failed("cannot export "+dir.Path(), rootCause(err), decodeAgain)
	}
	write := func(w io.Writer) error { return prometheus.Write(w, *snapshot, format) }
	if o.file == "" {
		err = write(a.stdout)
	} else {
		err = writeFile(o.file, write)
	}
	if err != nil {
		return failed("cannot export "+dir.Path(), rootCause(err), "")
	}
	return nil
}

func (a *app) exportOTLPCommand() *cobra.Command {
	var endpoint string
	steps := false
	c := &cobra.Command{
		Use:   "otlp SESSION --endpoint URL",
		Short: "Send a session to an OpenTelemetry endpoint: metrics, and requests as traces",
		Long: `export otlp sends what --otlp sends while tracing: the metrics as they are at the
session's end, and each request that ended as a trace with its queue, prefill, decode and
preempted times. The ids of the traces are made from the session: sent twice they are the
same. OpenTelemetry's variables (OTEL_EXPORTER_OTLP_HEADERS, OTEL_SERVICE_NAME, …) hold.`,
		Example: "  pmtrace export otlp …/session_… --endpoint grpc://localhost:4317",
		Args:    oneSession("export otlp"),
		RunE: func(c *cobra.Command, args []string) error {
			return a.exportOTLP(c.Context(), args[0], endpoint, steps)
		},
	}
	c.Flags().StringVar(&endpoint, "endpoint", "", "grpc://HOST:4317, grpcs://, http://HOST:4318 or https://")
	c.Flags().BoolVar(&steps, "steps", false, "send each step as a trace, too")
	return c
}

func (a *app) exportOTLP(ctx context.Context, path, endpoint string, steps bool) error {
	if endpoint == "" {
		return usage("export otlp wants to know where to: --endpoint grpc://HOST:4317 or http://HOST:4318")
	}
	to, err := otlp.ParseEndpoint(endpoint)
	if err != nil {
		return usage("--endpoint: %v", err)
	}
	dir, err := openSession(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	facts, snapshot, err := totalsOf(dir)
	if err != nil {
		return failed("cannot export "+dir.Path(), rootCause(err), decodeAgain)
	}
	ctx, stop := a.interruptible(ctx)
	defer stop()
	done, err := otlp.Export(ctx, to, dir, snapshot, facts.Began().Add(time.Duration(facts.DurationNS())), steps)
	if err != nil {
		return failed(fmt.Sprintf("cannot send to %s (%d requests were sent)", to, done.Requests), rootCause(err), "see that it takes OTLP there; sent again, the traces have the same ids")
	}
	fmt.Fprintf(a.stderr, "pmtrace: %d metrics and %d requests sent to %s", done.Metrics, done.Requests, to)
	if steps {
		fmt.Fprintf(a.stderr, "; %d steps", done.Steps)
	}
	if done.Unfinished > 0 {
		fmt.Fprintf(a.stderr, "; %d requests without a known beginning and end are no traces", done.Unfinished)
	}
	fmt.Fprintln(a.stderr)
	return nil
}

// totalsOf folds a session's tables.
func totalsOf(dir *session.Dir) (*session.Facts, *live.Snapshot, error) {
	facts, err := session.ReadFacts(dir)
	if err != nil {
		return nil, nil, err
	}
	t := live.NewTotals()
	t.Describe(facts)
	lost := int64(0)
	for _, table := range []func() error{
		func() error { return eachRow(dir, t.Step) },
		func() error { return eachRow(dir, t.Request) },
		func() error { return eachRow(dir, t.Preemption) },
		func() error { return eachRow(dir, t.KVEviction) },
		func() error { return eachRow(dir, t.CPUOperation) },
		func() error { return eachRow(dir, t.GraphLaunch) },
		func() error { return eachRow(dir, t.Collective) },
		func() error { return eachRow(dir, t.GPUSample) },
		func() error {
			return eachRow(dir, func(r *record.LossRow) error {
				lost += r.Count
				return t.Loss(r)
			})
		},
	} {
		if err := table(); err != nil {
			return nil, nil, err
		}
	}
	t.SetState(&live.State{DurationNS: facts.DurationNS(), Lost: lost})
	s := t.Snapshot()
	return facts, &s, nil
}

func eachRow[T any](dir *session.Dir, add func(*T) error) error {
	for r, err := range session.Rows[T](dir) {
		if err == nil {
			err = add(r)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
