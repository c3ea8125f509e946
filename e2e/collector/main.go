// Command collector receives OTLP as OpenTelemetry's collector does, with its own
// receiver, and says what came: a line of JSON a metric point and a span. It ends when its
// stdin does.
//
// It is a module of its own, so that pmtrace's does not need the collector's.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/otlpreceiver"
)

func main() {
	grpc := flag.String("grpc", "127.0.0.1:4317", "address")
	http := flag.String("http", "127.0.0.1:4318", "address")
	flag.Parse()
	if err := run(context.Background(), *grpc, *http, os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "collector:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, grpc, http string, in io.Reader, out io.Writer) error {
	factory := otlpreceiver.NewFactory()
	config := factory.CreateDefaultConfig()
	err := confmap.NewFromStringMap(map[string]any{"protocols": map[string]any{
		"grpc": map[string]any{"endpoint": grpc}, "http": map[string]any{"endpoint": http},
	}}).Unmarshal(config)
	if err != nil {
		return err
	}
	settings := receiver.Settings{
		ID: component.NewID(factory.Type()), TelemetrySettings: componenttest.NewNopTelemetrySettings(), BuildInfo: component.NewDefaultBuildInfo(),
	}
	p := &printer{out: json.NewEncoder(out)}
	metrics, err := consumer.NewMetrics(p.metrics)
	if err != nil {
		return err
	}
	traces, err := consumer.NewTraces(p.traces)
	if err != nil {
		return err
	}
	fromMetrics, err := factory.CreateMetrics(ctx, settings, config, metrics)
	if err != nil {
		return err
	}
	fromTraces, err := factory.CreateTraces(ctx, settings, config, traces)
	if err != nil {
		return err
	}
	host := componenttest.NewNopHost()
	if err := errors.Join(fromMetrics.Start(ctx, host), fromTraces.Start(ctx, host)); err != nil {
		return err
	}
	if err := p.say(line{Kind: "ready"}); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, in)
	return errors.Join(err, fromMetrics.Shutdown(ctx), fromTraces.Shutdown(ctx))
}

// line is a thing that came.
type line struct {
	Kind       string         `json:"kind"` // ready, round, sum, gauge, histogram, span
	Name       string         `json:"name,omitempty"`
	Unit       string         `json:"unit,omitempty"`
	Attributes map[string]any `json:"attributes,omitempty"`
	Resource   map[string]any `json:"resource,omitempty"`
	Value      float64        `json:"value"`
	Count      uint64         `json:"count,omitempty"`
	Bounds     []float64      `json:"bounds,omitempty"`
	Buckets    []uint64       `json:"buckets,omitempty"`
	Trace      string         `json:"trace,omitempty"`
	Span       string         `json:"span,omitempty"`
	Parent     string         `json:"parent,omitempty"`
	Start      time.Time      `json:"start,omitzero"`
	End        time.Time      `json:"end,omitzero"`
}

// printer writes lines.
type printer struct {
	mu  sync.Mutex
	out *json.Encoder
}

func (p *printer) say(lines ...line) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range lines {
		if err := p.out.Encode(&lines[i]); err != nil {
			return err
		}
	}
	return nil
}

func (p *printer) metrics(_ context.Context, all pmetric.Metrics) error {
	lines := []line{{Kind: "round"}}
	for _, r := range all.ResourceMetrics().All() {
		resource := r.Resource().Attributes().AsRaw()
		for _, s := range r.ScopeMetrics().All() {
			for _, m := range s.Metrics().All() {
				for _, l := range pointsOf(m) {
					l.Name, l.Unit, l.Resource = m.Name(), m.Unit(), resource
					lines = append(lines, l)
				}
			}
		}
	}
	return p.say(lines...)
}

func pointsOf(m pmetric.Metric) (lines []line) {
	number := func(kind string, points pmetric.NumberDataPointSlice) {
		for _, d := range points.All() {
			lines = append(lines, line{Kind: kind, Attributes: d.Attributes().AsRaw(), Value: d.DoubleValue(), Start: d.StartTimestamp().AsTime(), End: d.Timestamp().AsTime()})
		}
	}
	switch m.Type() {
	case pmetric.MetricTypeSum:
		if m.Sum().IsMonotonic() && m.Sum().AggregationTemporality() == pmetric.AggregationTemporalityCumulative {
			number("sum", m.Sum().DataPoints())
		}
	case pmetric.MetricTypeGauge:
		number("gauge", m.Gauge().DataPoints())
	case pmetric.MetricTypeHistogram:
		for _, d := range m.Histogram().DataPoints().All() {
			lines = append(lines, line{
				Kind: "histogram", Attributes: d.Attributes().AsRaw(), Value: d.Sum(), Count: d.Count(),
				Bounds: d.ExplicitBounds().AsRaw(), Buckets: d.BucketCounts().AsRaw(),
			})
		}
	}
	return lines
}

func (p *printer) traces(_ context.Context, all ptrace.Traces) error {
	var lines []line
	for _, r := range all.ResourceSpans().All() {
		resource := r.Resource().Attributes().AsRaw()
		for _, s := range r.ScopeSpans().All() {
			for _, one := range s.Spans().All() {
				lines = append(lines, line{
					Kind: "span", Name: one.Name(), Attributes: one.Attributes().AsRaw(), Resource: resource,
					Trace: one.TraceID().String(), Span: one.SpanID().String(), Parent: one.ParentSpanID().String(),
					Start: one.StartTimestamp().AsTime(), End: one.EndTimestamp().AsTime(),
				})
			}
		}
	}
	return p.say(lines...)
}
