package otlp

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"

	"github.com/pmtrace/pmtrace/output/live"
)

// sender delivers to one endpoint. Spans and metrics may be sent side by side.
type sender struct {
	extra   *resource.Resource
	traces  sdk.SpanExporter
	metrics metric.Exporter
	maker   *spanMaker
}

func newSender(ctx context.Context, e Endpoint) (*sender, error) {
	s := &sender{}
	var err error
	// OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES.
	if s.extra, err = resource.New(ctx, resource.WithFromEnv()); err != nil {
		return nil, err
	}
	if s.traces, err = e.traces(ctx); err != nil {
		return nil, err
	}
	if s.metrics, err = e.metrics(ctx); err != nil {
		return nil, errors.Join(err, s.traces.Shutdown(ctx))
	}
	return s, nil
}

// sendTraces delivers traces, within the timeout.
func (s *sender) sendTraces(ctx context.Context, t live.Target, list []item) error {
	if s.maker == nil || s.maker.target != t {
		s.maker = newSpanMaker(t, s.extra)
	}
	var spans []sdk.ReadOnlySpan
	for _, i := range list {
		spans = append(spans, s.maker.spans(i)...)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return s.traces.ExportSpans(ctx, spans)
}

// sendMetrics delivers a snapshot, within the timeout.
func (s *sender) sendMetrics(ctx context.Context, snapshot *live.Snapshot, at time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return s.metrics.Export(ctx, metricsOf(snapshot, at, s.extra))
}

func (s *sender) close(ctx context.Context) error {
	return errors.Join(s.traces.Shutdown(ctx), s.metrics.Shutdown(ctx))
}
