package live

import (
	"cmp"
	"slices"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/session"
)

// Moment is what the pipeline says beside its rows.
type Moment struct {
	NowNS     int64 // of the session
	SettledNS int64 // of what ended before it all rows have come
	Lost      int64
	Longest   []record.Running // the requests that have run longest
	Unended   int              // all of those

	// Whether these are watched at all.
	OutputsKnown, EvictionsKnown bool
}

// Look returns the figures of the last seconds before m: those of all that has come, and
// the n slowest requests.
func (r *Recent) Look(m *Moment, n int, by Order) View {
	r.mu.Lock()
	defer r.mu.Unlock()
	to := m.SettledNS
	from := max(to-r.window, 0, r.steps.cut, r.requests.cut)
	v := View{
		FromNS: from, ToNS: to, DelayNS: max(m.NowNS-to, 0), SlowestBy: by, Unended: m.Unended,
		Devices: slices.Clone(r.devices), Since: r.total, Losses: slices.Clone(r.losses), Lost: m.Lost,
	}
	perS := func(n int64) float64 {
		if to <= from {
			return 0
		}
		return float64(n) / (float64(to-from) / 1e9)
	}
	v.PreemptedPerS = perS(r.preemptions.between(from, to))
	if m.EvictionsKnown {
		v.EvictionsPerS = new(perS(r.evictions.between(from, to)))
	}
	r.lookSteps(&v, m.OutputsKnown, perS)
	r.lookRequests(&v, perS, n)
	r.lookEngines(&v)
	for i := range m.Longest {
		v.Longest = append(v.Longest, ageOf(&m.Longest[i], m.NowNS))
	}
	return v
}

// phaseSum is what Phase is made from.
type phaseSum struct {
	steps, requests, tokens int64
	step, gpu               session.Stat
}

func (r *Recent) lookSteps(v *View, outputs bool, perS func(int64) float64) {
	sums := map[string]*phaseSum{}
	var steps, in, out int64
	var g graphSum
	gpu := gpuSum{engines: map[int32]*gpuSpan{}, sources: map[string]int64{}}
	for _, s := range r.steps.kept() {
		if s.at < v.FromNS || s.at > v.ToNS {
			continue
		}
		in, out = in+int64(s.prefill), out+int64(s.outputs)
		if s.phase == record.PhaseEmpty {
			continue
		}
		steps++
		sum := sums[s.phase]
		if sum == nil {
			sum = &phaseSum{}
			sums[s.phase] = sum
		}
		sum.add(&s)
		g.add(&s)
		gpu.add(&s, v.FromNS)
	}
	v.StepsPerS, v.TokensInPerS = perS(steps), perS(in)
	if outputs {
		v.TokensOutPerS = new(perS(out))
	}
	for _, phase := range []string{record.PhasePrefill, record.PhaseMixed, record.PhaseDecode, record.PhaseUnknown} {
		if s := sums[phase]; s != nil {
			n := float64(s.steps)
			v.Phases = append(v.Phases, Phase{phase, s.steps, float64(s.requests) / n, float64(s.tokens) / n, percentiles(&s.step), percentiles(&s.gpu)})
		}
	}
	v.Graphs = g.graphs()
	v.GPU = gpu.share(v.FromNS, v.ToNS, r.idle())
}

func (p *phaseSum) add(s *stepSample) {
	p.steps++
	p.requests += int64(s.requests)
	p.tokens += int64(s.tokens)
	if s.duration >= 0 {
		p.step.Add(s.duration)
	}
	if s.gpu >= 0 {
		p.gpu.Add(s.gpu)
	}
}

// idle reports whether no engine had a request as its newest step was scheduled.
func (r *Recent) idle() bool {
	for _, e := range r.engines {
		if e.running == nil || *e.running > 0 {
			return false
		}
	}
	return true
}

func (r *Recent) lookRequests(v *View, perS func(int64) float64, n int) {
	var ttft, tpot, queue, total session.Stat
	var list []Finished
	for _, s := range r.requests.kept() {
		if s.at < v.FromNS || s.at > v.ToNS {
			continue
		}
		v.Finished++
		addKnownTo(&ttft, s.TTFTNS)
		addKnownTo(&tpot, s.TPOTNS)
		addKnownTo(&queue, s.QueueNS)
		addKnownTo(&total, s.TotalNS)
		if v.SlowestBy.of(&s.Finished) != nil {
			list = append(list, s.Finished)
		}
	}
	v.RequestsPerS = perS(int64(v.Finished))
	v.TTFT, v.TPOT, v.Queue, v.Total = percentiles(&ttft), percentiles(&tpot), percentiles(&queue), percentiles(&total)
	slices.SortStableFunc(list, func(a, b Finished) int {
		return cmp.Compare(*v.SlowestBy.of(&b), *v.SlowestBy.of(&a))
	})
	v.Slowest = slices.Clip(list[:min(n, len(list))])
}

func addKnownTo(s *session.Stat, ns *int64) {
	if ns != nil {
		s.Add(*ns)
	}
}

func percentiles(s *session.Stat) Percentiles {
	return Percentiles{s.Count(), s.Percentile(50), s.Percentile(99), s.Max()}
}

func (r *Recent) lookEngines(v *View) {
	for _, e := range r.engines {
		v.Running, v.Waiting = sumKnown(v.Running, e.running), sumKnown(v.Waiting, e.waiting)
		v.KVUsed, v.KVBlocks = sumKnown(v.KVUsed, e.used), sumKnown(v.KVBlocks, e.blocks)
	}
}

func sumKnown(sum *int64, n *int32) *int64 {
	if n == nil {
		return sum
	}
	s := int64(*n)
	if sum != nil {
		s += *sum
	}
	return &s
}

func ageOf(r *record.Running, now int64) Age {
	a := Age{ID: r.ExternalID, Engine: r.Engine, State: "prefill", TTFTNS: between(r.ArrivalNS, r.FirstTokNS), PromptTokens: r.PromptTokens, OutputTokens: r.OutputTokens}
	switch {
	case r.Preempted:
		a.State = "preempted"
	case r.FirstTokNS != nil || r.OutputTokens != nil && *r.OutputTokens > 0:
		a.State = "decode"
	}
	if since, known := r.Since(); known {
		age := max(now-since, 0)
		a.AgeNS = &age
	}
	return a
}
