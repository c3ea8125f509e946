package live

import (
	"strings"

	"github.com/pmtrace/pmtrace/decode/record"
)

// Kind of a metric.
type Kind uint8

const (
	Counter   Kind = iota // only rises
	Gauge                 // the newest value
	Histogram             // counts by size
)

// Metric is a row of the table of metrics: what it is, and how it is taken from rows.
type Metric struct {
	Name   string // OpenTelemetry's; see Prometheus for the other
	Kind   Kind
	Unit   string // UCUM, as OpenTelemetry has it: s, By, W, Hz, Cel, 1, {token}
	Help   string
	Labels []string // names, in the order of a series' values
	Bounds []int64  // of a histogram's buckets, in raw units: ns of s, else the unit itself

	// What it is taken from: one of these.
	step       func(*vector, *record.StepRow)
	request    func(*vector, *record.RequestRow)
	preemption func(*vector, *record.PreemptionRow)
	eviction   func(*vector, *record.KVEvictionRow)
	operation  func(*vector, *record.CPUOperationRow)
	launch     func(*vector, *record.GraphLaunchRow)
	collective func(*vector, *record.CollectiveRow)
	sample     func(*vector, *record.GPUSampleRow)
	loss       func(*vector, *record.LossRow)
	state      func(*vector, *State)
}

// Scaled is a raw value in the metric's unit. Dividing keeps 0.005 what it is.
func (m *Metric) Scaled(raw int64) float64 {
	if m.Unit == "s" {
		return float64(raw) / 1e9
	}
	return float64(raw)
}

// UpperBounds are Bounds in the metric's unit.
func (m *Metric) UpperBounds() []float64 {
	bounds := make([]float64, len(m.Bounds))
	for i, b := range m.Bounds {
		bounds[i] = m.Scaled(b)
	}
	return bounds
}

// Prometheus is the metric's name by Prometheus' conventions, made from OpenTelemetry's
// as that says: base unit and _total at the end.
func (m *Metric) Prometheus() string {
	name := strings.ReplaceAll(m.Name, ".", "_")
	if unit := m.prometheusUnit(); unit != "" {
		name += "_" + unit
	}
	if m.Kind == Counter {
		name += "_total"
	}
	return name
}

// prometheusUnit is the unit in the name; "" for what is counted.
func (m *Metric) prometheusUnit() string {
	switch m.Unit {
	case "s":
		return "seconds"
	case "By":
		return "bytes"
	case "W":
		return "watts"
	case "Hz":
		return "hertz"
	case "Cel":
		return "celsius"
	case "1":
		return "ratio"
	}
	return ""
}
