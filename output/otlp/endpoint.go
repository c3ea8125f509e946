package otlp

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/trace"
)

// Endpoint is where to send, and how: OTLP by gRPC (grpc, grpcs) or by HTTP (http, https).
type Endpoint struct {
	url    *url.URL
	rpc    bool
	secure bool
}

// ParseEndpoint reads a URL. Headers, certificates and the like come from the
// environment, by OpenTelemetry's variables (OTEL_EXPORTER_OTLP_HEADERS, …).
func ParseEndpoint(s string) (Endpoint, error) {
	u, err := url.Parse(s)
	if err != nil {
		return Endpoint{}, errors.New("want a URL such as grpc://localhost:4317 or http://localhost:4318")
	}
	e := Endpoint{url: u}
	ports := map[string]string{"grpc": "4317", "grpcs": "4317", "http": "4318", "https": "4318"}
	switch u.Scheme {
	case "grpc", "grpcs":
		e.rpc = true
	case "http", "https":
	default:
		return Endpoint{}, fmt.Errorf("want a URL that begins with grpc://, grpcs://, http:// or https://, such as grpc://localhost:4317")
	}
	e.secure = strings.HasSuffix(u.Scheme, "s")
	switch {
	case u.Hostname() == "":
		return Endpoint{}, errors.New("the URL has no host")
	case u.User != nil:
		return Endpoint{}, errors.New("the URL has a user in it; give credentials by OTEL_EXPORTER_OTLP_HEADERS")
	case e.rpc && strings.Trim(u.Path, "/") != "":
		return Endpoint{}, errors.New("gRPC takes no path")
	}
	if u.Port() == "" {
		u.Host += ":" + ports[u.Scheme]
	}
	return e, nil
}

func (e Endpoint) String() string { return e.url.String() }

// timeout is how long one delivery may take, retries included.
const timeout = 10 * time.Second

func (e Endpoint) signal(name string) string {
	return strings.TrimSuffix(e.url.String(), "/") + "/v1/" + name
}

func (e Endpoint) traces(ctx context.Context) (trace.SpanExporter, error) {
	if !e.rpc {
		return otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(e.signal("traces")), otlptracehttp.WithTimeout(timeout),
			otlptracehttp.WithCompression(otlptracehttp.GzipCompression))
	}
	opts := []otlptracegrpc.Option{otlptracegrpc.WithEndpoint(e.url.Host), otlptracegrpc.WithTimeout(timeout)}
	if !e.secure {
		opts = append(opts, otlptracegrpc.WithInsecure())
	}
	return otlptracegrpc.New(ctx, opts...)
}

func (e Endpoint) metrics(ctx context.Context) (metric.Exporter, error) {
	if !e.rpc {
		return otlpmetrichttp.New(ctx, otlpmetrichttp.WithEndpointURL(e.signal("metrics")), otlpmetrichttp.WithTimeout(timeout),
			otlpmetrichttp.WithCompression(otlpmetrichttp.GzipCompression))
	}
	opts := []otlpmetricgrpc.Option{otlpmetricgrpc.WithEndpoint(e.url.Host), otlpmetricgrpc.WithTimeout(timeout)}
	if !e.secure {
		opts = append(opts, otlpmetricgrpc.WithInsecure())
	}
	return otlpmetricgrpc.New(ctx, opts...)
}
