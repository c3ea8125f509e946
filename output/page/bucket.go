package page

import (
	"slices"

	"github.com/pmtrace/pmtrace/decode/record"
)

// phases in the order of the page.
var phases = [...]string{record.PhasePrefill, record.PhaseMixed, record.PhaseDecode, record.PhaseUnknown}

func phaseIndex(phase string) int {
	if i := slices.Index(phases[:], phase); i >= 0 {
		return i
	}
	return len(phases) - 1
}

// spells are durations: ns.
type spells struct{ n, sum, max int64 }

func (s *spells) add(ns int64) {
	s.n++
	s.sum += ns
	s.max = max(s.max, ns)
}

func (s *spells) merge(o *spells) {
	s.n += o.n
	s.sum += o.sum
	s.max = max(s.max, o.max)
}

// levels are values of what has one at each step.
type levels struct{ n, sum, min, max, last int64 }

func (l *levels) add(v *int32) {
	if v == nil {
		return
	}
	l.merge(&levels{1, int64(*v), int64(*v), int64(*v), int64(*v)})
}

func (l *levels) merge(o *levels) {
	switch {
	case o.n == 0:
	case l.n == 0:
		*l = *o
	default:
		l.n += o.n
		l.sum += o.sum
		l.min, l.max, l.last = min(l.min, o.min), max(l.max, o.max), o.last
	}
}

// bucket is what an engine did in a stretch of time. What has a duration counts where it
// began; the GPU's time counts where it was spent.
type bucket struct {
	whole, gpu                [len(phases)]spells // steps with tokens: schedule to update; on the GPU
	prompt, recompute, output int64               // tokens
	kv, running, waiting      levels              // blocks; requests
	busy, idle, drained       int64               // ns of the GPU: in steps; before steps of requests that ran; before others
	full, piecewise, eager    int64               // steps by cudagraph_mode
	padded, padding           int64               // tokens computed in graphs; of these more than scheduled
	evicted, preempted        int64               // cached blocks; requests
	arrived, finished         int64               // requests
}

func mergeBuckets(b, o *bucket) {
	for i := range phases {
		b.whole[i].merge(&o.whole[i])
		b.gpu[i].merge(&o.gpu[i])
	}
	b.kv.merge(&o.kv)
	b.running.merge(&o.running)
	b.waiting.merge(&o.waiting)
	for _, p := range [...]struct{ into, from *int64 }{
		{&b.prompt, &o.prompt}, {&b.recompute, &o.recompute}, {&b.output, &o.output},
		{&b.busy, &o.busy}, {&b.idle, &o.idle}, {&b.drained, &o.drained},
		{&b.full, &o.full}, {&b.piecewise, &o.piecewise}, {&b.eager, &o.eager},
		{&b.padded, &o.padded}, {&b.padding, &o.padding}, {&b.evicted, &o.evicted}, {&b.preempted, &o.preempted},
		{&b.arrived, &o.arrived}, {&b.finished, &o.finished},
	} {
		*p.into += *p.from
	}
}

// step adds what a step did in the bucket of its start.
func (b *bucket) step(r *record.StepRow) {
	b.kv.add(r.KVUsed)
	b.running.add(r.Running)
	b.waiting.add(r.Waiting)
	if r.OutputTokens != nil {
		b.output += int64(*r.OutputTokens)
	}
	if r.Tokens == 0 {
		return
	}
	b.prompt += int64(r.PrefillTokens)
	b.recompute += int64(r.RecomputeTokens)
	phase := phaseIndex(r.Phase)
	if r.EndNS != nil {
		b.whole[phase].add(max(*r.EndNS-r.StartNS, 0))
	}
	if r.StepGPUNS != nil {
		b.gpu[phase].add(max(*r.StepGPUNS, 0))
	}
	b.graph(r)
}

func (b *bucket) graph(r *record.StepRow) {
	if r.GraphMode == nil {
		return
	}
	switch *r.GraphMode {
	case modeEager:
		b.eager++
		return
	case modePiecewise:
		b.piecewise++
	default:
		b.full++
	}
	if r.PaddedTokens != nil && *r.PaddedTokens >= r.Tokens {
		b.padded += int64(*r.PaddedTokens)
		b.padding += int64(*r.PaddedTokens - r.Tokens)
	}
}

// columnsOf turns buckets into the page's columns.
func columnsOf(buckets []bucket) columns {
	c := columns{}
	level := func(name string, l *levels) {
		c[name+"_n"] = append(c[name+"_n"], l.n)
		c[name+"_sum"] = append(c[name+"_sum"], l.sum)
		low, high, last := int64(none), int64(none), int64(none)
		if l.n > 0 {
			low, high, last = l.min, l.max, l.last
		}
		c[name+"_min"] = append(c[name+"_min"], low)
		c[name+"_max"] = append(c[name+"_max"], high)
		c[name+"_last"] = append(c[name+"_last"], last)
	}
	for i := range buckets {
		b := &buckets[i]
		for p, phase := range phases {
			for _, s := range [...]struct {
				name string
				of   *spells
			}{{"whole_" + phase, &b.whole[p]}, {"gpu_" + phase, &b.gpu[p]}} {
				c[s.name+"_n"] = append(c[s.name+"_n"], s.of.n)
				c[s.name+"_sum"] = append(c[s.name+"_sum"], s.of.sum)
				c[s.name+"_max"] = append(c[s.name+"_max"], s.of.max)
			}
		}
		level("kv", &b.kv)
		level("running", &b.running)
		level("waiting", &b.waiting)
		for _, v := range [...]struct {
			name string
			of   int64
		}{
			{"prompt", b.prompt}, {"recompute", b.recompute}, {"output", b.output},
			{"busy", b.busy}, {"idle", b.idle}, {"drained", b.drained},
			{"full", b.full}, {"piecewise", b.piecewise}, {"eager", b.eager}, {"padded", b.padded}, {"padding", b.padding},
			{"evicted", b.evicted}, {"preempted", b.preempted}, {"arrived", b.arrived}, {"finished", b.finished},
		} {
			c[v.name] = append(c[v.name], v.of)
		}
	}
	c.trim(func(string) bool { return true })
	return c
}
