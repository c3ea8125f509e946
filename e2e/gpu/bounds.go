package main

import (
	"encoding/binary"
	"encoding/json"

	"github.com/pmtrace/pmtrace/decode"
	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/decode/wire"
	"github.com/pmtrace/pmtrace/output/session"
)

// collector keeps what is compared.
type collector struct {
	record.Discard
	traced *traced
}

func (c *collector) Step(r *record.StepRow) error {
	c.traced.steps = append(c.traced.steps, *r)
	return nil
}

func (c *collector) GraphLaunch(r *record.GraphLaunchRow) error {
	c.traced.launches = append(c.traced.launches, *r)
	return nil
}

// outside is a recorded session as it would be had the process told nothing from inside.
func outside(path string) (*traced, error) {
	dir, err := session.Open(path)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	s := &traced{}
	p := decode.NewPipeline(&collector{traced: s}, decode.Options{OnError: func(error) {}})
	err = eachRecord(dir, func(kind byte, payload []byte) error {
		if payload = withoutInside(kind, payload); payload == nil {
			return nil
		}
		s.note(kind, payload)
		return p.Record(kind, payload)
	})
	if err != nil {
		return nil, err
	}
	_, err = p.Close()
	s.absolute()
	return s, err
}

// withoutInside is a record without what comes from inside the process; nil: nothing.
func withoutInside(kind byte, payload []byte) []byte {
	const kindAt = 12
	switch kind {
	case decode.RecordEvent:
		if len(payload) >= wire.HeaderSize && binary.LittleEndian.Uint16(payload[kindAt:]) >= uint16(wire.KindCUPTICall) {
			return nil
		}
	case decode.RecordFact:
		var f record.Fact
		if json.Unmarshal(payload, &f) != nil {
			return payload
		}
		if f.Injected != nil {
			return nil
		}
		if f.Start != nil && f.Start.Injected {
			f.Start.Injected = false
			payload, _ = json.Marshal(f)
		}
	}
	return payload
}

// bounds is how far the times that were got from outside are off from CUPTI's of the same steps.
type bounds struct {
	Steps                      int // that both have
	FULL, PIECEWISE            regime
	Waited, NotWaited          regime
	WithinBound                float64
	OutsideUnbounded, NotTimed int
}

func compareBounds(exact, s *traced) *bounds {
	type key struct {
		engine int32
		step   int64
	}
	want := map[key]*record.StepRow{}
	for i := range exact.steps {
		if r := &exact.steps[i]; r.GPUTimingSource != nil && *r.GPUTimingSource == record.TimingCUPTI && r.StepGPUNS != nil {
			want[key{r.Engine, r.StepID}] = r
		}
	}
	b := &bounds{}
	var all, full, piecewise, waited, not samples
	for i := range s.steps {
		r := &s.steps[i]
		w := want[key{r.Engine, r.StepID}]
		switch {
		case w == nil:
			continue
		case r.StepGPUNS == nil || r.GPUStartNS == nil || r.GPUEndNS == nil:
			b.NotTimed++
			continue
		case r.GPUErrorNS == nil:
			b.OutsideUnbounded++
			continue
		}
		into := []*samples{&all, &not, &full}
		if r.HostWaited != nil && *r.HostWaited {
			into[1] = &waited
		}
		if w.GraphMode != nil && *w.GraphMode != "FULL" {
			into[2] = &piecewise
		}
		diff, truth := float64(*r.StepGPUNS-*w.StepGPUNS), float64(*w.StepGPUNS)
		for _, x := range into {
			x.start = append(x.start, float64(*r.GPUStartNS-*w.GPUStartNS))
			x.end = append(x.end, float64(*r.GPUEndNS-*w.GPUEndNS))
			x.step = append(x.step, diff)
			x.relative = append(x.relative, max(diff, -diff)/truth)
			x.truth = append(x.truth, truth)
			if max(diff, -diff) <= float64(*r.GPUErrorNS+*w.GPUErrorNS) {
				x.within++
			}
		}
	}
	b.Steps = len(all.step)
	if b.Steps > 0 {
		b.WithinBound = float64(all.within) / float64(b.Steps)
	}
	b.FULL, b.PIECEWISE, b.Waited, b.NotWaited = full.regime(), piecewise.regime(), waited.regime(), not.regime()
	return b
}
