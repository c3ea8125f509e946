package page

import (
	"fmt"
	"testing"

	"github.com/go-quicktest/qt"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/internal/traffic"
	"github.com/pmtrace/pmtrace/output/session"
)

// onGPU gives the steps of a server that traffic makes a GPU's side.
type onGPU struct {
	*session.Tables
	last int64
}

func (g *onGPU) Step(r *record.StepRow) error {
	start := max(r.ScheduledNS+400_000, g.last)
	end := *r.UpdateNS - 50_000
	r.LaunchNS, r.GPUStartNS, r.GPUEndNS = new(r.ScheduledNS+300_000), new(start), new(end)
	r.StepGPUNS, r.GPUTimingSource, r.GPUErrorNS = new(end-start), new(record.TimingEventBound), new(int64(20_000))
	if g.last > 0 {
		r.GPUIdleNS = new(start - g.last)
	}
	g.last = end
	r.HostWaited, r.GraphMode, r.PaddedTokens, r.GraphLaunches = new(true), new("FULL"), new((r.Tokens+7)/8*8), new(int32(1))
	if r.Phase != record.PhaseDecode {
		r.GraphMode, r.PaddedTokens = new("NONE"), new(r.Tokens)
	}
	bytes, flops := 16e9+float64(r.Tokens)*1e6, float64(r.Tokens)*16e9
	seconds := float64(end-start) / 1e9
	r.ModelBytes, r.ModelFLOPs, r.ModelEstimated = new(int64(bytes)), new(flops), new(false)
	r.MBU, r.MFU = new(bytes/seconds/4.8e12), new(flops/seconds/989e12)
	return g.Tables.Step(r)
}

// BenchmarkReport makes the page of an hour, and of a million steps, of 32 requests.
func BenchmarkReport(b *testing.B) {
	for _, steps := range []int{360_000, 1_000_000} {
		b.Run(fmt.Sprint(steps), func(b *testing.B) {
			dir, facts := makeHour(b, steps)
			b.ResetTimer()
			n := &counted{}
			for b.Loop() {
				n.bytes = 0
				qt.Assert(b, qt.IsNil(build(b, dir, facts).Write(n)))
			}
			b.ReportMetric(float64(n.bytes), "bytes")
		})
	}
}

// makeHour writes the session of a server with 32 requests at a time, 100 steps a second:
// of an hour, if they are 360,000.
func makeHour(t testing.TB, steps int) (*session.Dir, *session.Facts) {
	place, err := session.OpenPlace(t.TempDir(), session.Owner{UID: -1, GID: -1})
	qt.Assert(t, qt.IsNil(err))
	t.Cleanup(func() { place.Close() })
	tables, err := session.CreateTables(place, session.About{SessionID: "hour"})
	qt.Assert(t, qt.IsNil(err))
	shape := traffic.Chat32
	shape.StepNS = 9_500_000
	s := traffic.New(shape)
	s.Rows = &onGPU{Tables: tables}
	for i := range steps {
		_, err := s.Step()
		qt.Assert(t, qt.IsNil(err))
		if i%50 == 0 {
			at := int64(i) * 10_000_000
			qt.Assert(t, qt.IsNil(tables.GPUSample(&record.GPUSampleRow{TimeNS: at, SMPct: new(60 + float64(i%7)), DRAMPct: new(50.0),
				PowerW: new(400 + float64(i/50%90)), SMClockMHz: new(1980.0), Throttle: new("")})))
		}
	}
	qt.Assert(t, qt.IsNil(tables.Close()))
	facts := &session.Facts{Engines: []record.Engine{{Model: "/models/llama8b", VLLM: "0.33.0", MaxSeqs: 64, MaxTokens: 2048, BlockSize: 16}}}
	_, err = session.WriteFiles(place, facts, false)
	qt.Assert(t, qt.IsNil(err))
	return place, facts
}
