package prometheus

import (
	"strings"

	client "github.com/prometheus/client_golang/prometheus"

	"github.com/pmtrace/pmtrace/output/live"
)

// Collector is a collector of client_golang: each time that it is asked it takes a
// snapshot.
type Collector struct {
	snapshot func() live.Snapshot
	metrics  map[string]*client.Desc // by the metric's name
	build    *client.Desc
	target   *client.Desc
}

var _ client.Collector = (*Collector)(nil)

// targetLabels are of pmtrace_target_info, the same whatever is known.
func targetLabels() []string {
	return []string{"model", "vllm_version", "python_version", "device", "gpu_name", "tensor_parallel", "pipeline_parallel", "data_parallel", "session_id", "mode"}
}

// NewCollector returns a Collector of what snapshot gives.
func NewCollector(snapshot func() live.Snapshot) *Collector {
	c := &Collector{
		snapshot: snapshot, metrics: map[string]*client.Desc{},
		build:  client.NewDesc("pmtrace_build_info", "The pmtrace that traces; always 1.", []string{"version"}, nil),
		target: client.NewDesc("pmtrace_target_info", "The server that is traced; always 1.", targetLabels(), nil),
	}
	for _, m := range live.Metrics() {
		c.metrics[m.Name] = client.NewDesc(m.Prometheus(), m.Help, m.Labels, nil)
	}
	return c
}

// Describe sends what there may be.
func (c *Collector) Describe(out chan<- *client.Desc) {
	out <- c.build
	out <- c.target
	for _, d := range c.metrics {
		out <- d
	}
}

// Collect sends what there is.
func (c *Collector) Collect(out chan<- client.Metric) {
	s := c.snapshot()
	out <- client.MustNewConstMetric(c.build, client.GaugeValue, 1, s.Target.Pmtrace)
	known := map[string]string{}
	for _, a := range s.Target.Attributes() {
		known[a.Name] = strings.ToValidUTF8(a.Value, "?")
	}
	values := make([]string, 0, len(known))
	for _, name := range targetLabels() {
		values = append(values, known[name])
	}
	out <- client.MustNewConstMetric(c.target, client.GaugeValue, 1, values...)
	for i := range s.Families {
		c.family(out, &s.Families[i])
	}
}

func (c *Collector) family(out chan<- client.Metric, f *live.Family) {
	desc, bounds := c.metrics[f.Name], f.UpperBounds()
	for i := range f.Series {
		s := &f.Series[i]
		var m client.Metric
		var err error
		switch f.Kind {
		case live.Counter:
			m, err = client.NewConstMetric(desc, client.CounterValue, s.Value, s.Labels...)
		case live.Gauge:
			m, err = client.NewConstMetric(desc, client.GaugeValue, s.Value, s.Labels...)
		case live.Histogram:
			m, err = client.NewConstHistogram(desc, s.Count, s.Sum, cumulative(bounds, s.Buckets), s.Labels...)
		}
		if err != nil { // a label that is no UTF-8
			m = client.NewInvalidMetric(desc, err)
		}
		out <- m
	}
}

// cumulative are buckets as Prometheus has them: each with all below.
func cumulative(bounds []float64, buckets []uint64) map[float64]uint64 {
	sums := make(map[float64]uint64, len(bounds))
	sum := uint64(0)
	for i, b := range bounds {
		sum += buckets[i]
		sums[b] = sum
	}
	return sums
}
