package prometheus

import (
	"io"
	"net/http"

	client "github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/common/expfmt"

	"github.com/pmtrace/pmtrace/output/live"
)

// Format of an exposition.
type Format string

const (
	Text        Format = "text"
	OpenMetrics Format = "openmetrics"
)

// Formats are all of them.
func Formats() []Format { return []Format{Text, OpenMetrics} }

// Write writes a snapshot.
func Write(w io.Writer, s live.Snapshot, format Format) error {
	registry := client.NewPedanticRegistry()
	if err := registry.Register(NewCollector(func() live.Snapshot { return s })); err != nil {
		return err
	}
	families, err := registry.Gather()
	if err != nil {
		return err
	}
	as := expfmt.NewFormat(expfmt.TypeTextPlain)
	if format == OpenMetrics {
		as = expfmt.NewFormat(expfmt.TypeOpenMetrics)
	}
	encoder := expfmt.NewEncoder(w, as)
	for _, f := range families {
		if err := encoder.Encode(f); err != nil {
			return err
		}
	}
	if c, ok := encoder.(expfmt.Closer); ok {
		return c.Close()
	}
	return nil
}

// maxScrapes bounds how many are answered at once.
const maxScrapes = 4

// Handler answers scrapes with what snapshot gives, and with the tracer's own use of
// processor and memory.
func Handler(snapshot func() live.Snapshot) (http.Handler, error) {
	registry := client.NewRegistry()
	for _, c := range []client.Collector{NewCollector(snapshot), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})} {
		if err := registry.Register(c); err != nil {
			return nil, err
		}
	}
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{EnableOpenMetrics: true, MaxRequestsInFlight: maxScrapes}), nil
}
