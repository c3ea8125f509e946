package otlp

import (
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	"go.opentelemetry.io/otel/sdk/resource"
	semconv "go.opentelemetry.io/otel/semconv/v1.41.0"

	"github.com/pmtrace/pmtrace/output/live"
)

// resourceOf says whose metrics and requests they are: the server's. extra, from
// OpenTelemetry's variables, goes before.
func resourceOf(t *live.Target, extra *resource.Resource) *resource.Resource {
	list := []attribute.KeyValue{
		semconv.ServiceName("vllm"), semconv.ServiceInstanceID(t.SessionID),
	}
	if t.VLLM != "" {
		list = append(list, semconv.ServiceVersion(t.VLLM))
	}
	if t.Host != "" {
		list = append(list, semconv.HostName(t.Host))
	}
	if t.PID != 0 {
		list = append(list, semconv.ProcessPID(t.PID))
	}
	for _, a := range t.Attributes() {
		list = append(list, attribute.String("pmtrace."+a.Name, a.Value))
	}
	own := resource.NewWithAttributes(semconv.SchemaURL, list...)
	if extra == nil {
		return own
	}
	both, err := resource.Merge(own, resource.NewSchemaless(extra.Attributes()...))
	if err != nil {
		return own
	}
	return both
}

func scopeOf(t *live.Target) instrumentation.Scope {
	return instrumentation.Scope{Name: "github.com/pmtrace/pmtrace", Version: t.Pmtrace}
}

// wall is the time of the day of a time of the session.
func wall(t *live.Target, ns int64) time.Time { return time.Unix(0, t.StartWall+ns).UTC() }
