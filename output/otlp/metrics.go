package otlp

import (
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/resource"

	"github.com/pmtrace/pmtrace/output/live"
)

// metricsOf is a snapshot as OpenTelemetry has it: sums since the session began.
func metricsOf(s *live.Snapshot, at time.Time, extra *resource.Resource) *metricdata.ResourceMetrics {
	scope := metricdata.ScopeMetrics{Scope: scopeOf(&s.Target)}
	start := wall(&s.Target, 0)
	for i := range s.Families {
		f := &s.Families[i]
		if len(f.Series) == 0 {
			continue
		}
		scope.Metrics = append(scope.Metrics, metricdata.Metrics{
			Name: f.Name, Description: f.Help, Unit: f.Unit, Data: dataOf(f, start, at),
		})
	}
	return &metricdata.ResourceMetrics{Resource: resourceOf(&s.Target, extra), ScopeMetrics: []metricdata.ScopeMetrics{scope}}
}

func dataOf(f *live.Family, start, at time.Time) metricdata.Aggregation {
	switch f.Kind {
	case live.Histogram:
		h := metricdata.Histogram[float64]{Temporality: metricdata.CumulativeTemporality}
		bounds := f.UpperBounds()
		for _, s := range f.Series {
			h.DataPoints = append(h.DataPoints, metricdata.HistogramDataPoint[float64]{
				Attributes: attributesOf(f, s.Labels), StartTime: start, Time: at,
				Count: s.Count, Sum: s.Sum, Bounds: bounds, BucketCounts: s.Buckets,
			})
		}
		return h
	case live.Gauge:
		return metricdata.Gauge[float64]{DataPoints: pointsOf(f, time.Time{}, at)}
	case live.Counter:
	}
	return metricdata.Sum[float64]{DataPoints: pointsOf(f, start, at), Temporality: metricdata.CumulativeTemporality, IsMonotonic: true}
}

func pointsOf(f *live.Family, start, at time.Time) []metricdata.DataPoint[float64] {
	points := make([]metricdata.DataPoint[float64], 0, len(f.Series))
	for _, s := range f.Series {
		points = append(points, metricdata.DataPoint[float64]{Attributes: attributesOf(f, s.Labels), StartTime: start, Time: at, Value: s.Value})
	}
	return points
}

// attributesOf are the labels that are not empty.
func attributesOf(f *live.Family, values []string) attribute.Set {
	var list []attribute.KeyValue
	for i, name := range f.Labels {
		if values[i] != "" {
			list = append(list, attribute.String(name, values[i]))
		}
	}
	return attribute.NewSet(list...)
}
