package join

import (
	"math"

	"github.com/pmtrace/pmtrace/decode/record"
)

// routed is a step whose tokens chose experts.
type routed struct {
	num, at     int64 // at: it was scheduled
	launch, end int64 // between them its pass ran
	tokens      uint32
	low, high   uint32 // rows, padding included
	came        int64
}

// route makes a step, whose row is complete, known to what its worker's routing kernels
// tell.
func (e *engine) route(st *step, r *run, row *record.StepRow) {
	in := r.w.injected
	if in == nil || !in.fact.MoE && !in.routing.begun || r.w != e.primary || st.tokens <= 0 {
		return
	}
	if why := e.unroutable(); why != "" && (why != layersUnknown || r.w.own()) {
		return
	}
	s := routed{
		num: int64(st.num), at: st.scheduled, launch: r.begin, end: math.MaxInt64,
		tokens: uint32(st.tokens), low: uint32(st.tokens), high: math.MaxUint32, came: e.j.clock,
	}
	if !r.mixed {
		if r.end.known {
			s.end = r.end.hi
		}
		replays := r.replays()
		if t := r.launchTime(&replays); t != unset && !r.gap {
			s.launch = t
			r.within(&s, &replays)
		}
		e.rows(&s, row)
	}
	m := &in.routing
	if m.until != unset && s.launch > m.until {
		return
	}
	m.steps.push(s)
	if m.steps.len() > maxRoutedSteps {
		m.giveUp()
	}
}

// rows bounds the rows that the step's pass has.
func (e *engine) rows(s *routed, row *record.StepRow) {
	if row.GraphMode == nil || row.PaddedTokens == nil || *row.PaddedTokens < row.Tokens {
		return
	}
	switch {
	case *row.GraphMode != modeNone:
		s.low, s.high = uint32(*row.PaddedTokens), uint32(*row.PaddedTokens)
	case e.fact.DP <= 1: // else all ranks are padded to the longest
		s.high = s.tokens + max(s.tokens, maxEagerPadding)
	}
}

// within puts the pass between the begin of the model's first replay and the end of its
// last one, where CUPTI told of them.
func (r *run) within(s *routed, replays *replays) {
	if replays.model == 0 || replays.maybeModel > 0 {
		return
	}
	var first, last *replay
	r.ownLaunches(func(l *launch) {
		if first == nil {
			first = l.replay
		}
		last = l.replay
	})
	if first != nil && first.known {
		s.launch = max(s.launch, first.start)
	}
	if last != nil && last.known {
		s.end = min(s.end, last.end)
	}
}

// settle gives passes and steps to each other, in order. end: no more of either come.
func (m *routing) settle(end bool) {
	m.admit()
	for m.advance(end) {
	}
}

// advance takes one pass or step off; false: it must wait.
func (m *routing) advance(end bool) bool {
	switch {
	case m.passes.len() == 0:
		if m.steps.len() == 0 || !end && m.in.j.clock-m.steps.at(0).came <= holdNS {
			return false
		}
		m.giveUp()
		return true
	case !m.clock.known():
		if !end && m.in.j.clock-(*m.passes.at(0)).came <= holdNS {
			return false
		}
		m.discard("no_clock")
		return true
	}
	p := *m.passes.at(0)
	age := m.in.j.clock - p.came
	if !end && (age <= lastWordsNS && m.steps.len() == 0 || age <= holdNS && !p.whole) {
		return false
	}
	t := m.span(p)
	if m.steps.len() == 0 {
		if !end && m.expected(t) {
			return false
		}
		m.dummy()
		return true
	}
	s := m.steps.at(0)
	switch {
	case t.first < s.launch:
		m.dummy()
		return true
	case t.last > s.end:
		m.miss(m.steps.pop(), m.layers())
		p.lost = max(p.lost-1, 0)
		return true
	}
	overdue := end || age > holdNS && !m.expected(t)
	if !overdue && int64(m.steps.len()) <= p.lost {
		return false
	}
	return m.place(p, t, overdue)
}

// passSpan is when the first and the last known run of a pass were done, nearer to each
// other than they may have been.
type passSpan struct{ first, last, slack int64 }

func (m *routing) span(p *pass) passSpan {
	slack := routingSlackNS + m.clock.err()
	return passSpan{m.clock.time(p.runs[0].gpu) + slack, m.clock.time(p.runs[len(p.runs)-1].gpu) - slack, slack}
}

// place gives the oldest pass to its step: the first one, unless whole passes before it
// were lost. Then it is that many steps on, or fewer: the lost may be dummy batches'.
func (m *routing) place(p *pass, t passSpan, overdue bool) bool {
	n := int(min(p.lost, int64(m.steps.len()-1)))
	for n > 0 && !m.steps.at(n).fits(p, t) {
		n--
	}
	if n == 0 && m.better(p, t) {
		m.dummy()
		return true
	}
	if n == 0 && !m.steps.at(0).fits(p, t) {
		switch { // a step may run no model at all
		case m.steps.len() > 1 && m.steps.at(1).fits(p, t):
			n = 1
		case m.steps.len() > 1 || overdue:
			m.dummy()
			return true
		default:
			return false
		}
	}
	for range n {
		m.miss(m.steps.pop(), m.layers())
	}
	m.explain((p.lost - int64(n)) * int64(m.layers()))
	m.match(m.steps.pop(), m.pop())
	return true
}

// better reports whether the first step is the next pass's without a doubt, and the
// oldest one's by the tolerance alone: a dummy batch that ended as the step began.
func (m *routing) better(p *pass, t passSpan) bool {
	s := m.steps.at(0)
	if m.passes.len() < 2 || s.holds(t) {
		return false
	}
	next := *m.passes.at(1)
	u := m.span(next)
	return s.fits(next, u) && s.holds(u)
}

// fits reports whether a pass can be of this step.
func (s *routed) fits(p *pass, t passSpan) bool {
	return t.first >= s.launch && t.last <= s.end && p.rows >= s.low && p.rows <= s.high
}

// holds reports whether a pass ran within the step, as the clocks have it.
func (s *routed) holds(t passSpan) bool {
	return t.first-t.slack >= s.launch && t.last+t.slack <= s.end
}

// expected reports whether a pass can be of a step whose row is not complete yet.
func (m *routing) expected(t passSpan) bool {
	e := m.in.w.engine
	for i := range e.held.len() {
		if (*e.held.at(i)).mayRoute(t) {
			return true
		}
	}
	for _, st := range e.flight {
		if st.mayRoute(t) {
			return true
		}
	}
	return false
}

func (st *step) mayRoute(t passSpan) bool {
	r := st.run
	switch {
	case st.tokens == 0:
		return false
	case r == nil || r.mixed:
		return t.first >= st.scheduled
	}
	return t.first >= r.begin && (!r.end.known || t.last <= r.end.hi)
}

func (m *routing) layers() int { return len(m.in.w.engine.routed) }

// dummy takes note that the oldest pass is of no step: a warm-up, or a batch that only
// keeps other ranks company.
func (m *routing) dummy() {
	p := m.pop()
	m.explain(int64(m.layers() - len(p.runs)))
	m.in.j.stats.MoE.DummyPasses++
}

// explain takes note whose runs those were that are lost, and gives how many of n are.
func (m *routing) explain(n int64) int64 {
	n = min(max(n, 0), m.lost)
	m.lost -= n
	return n
}

// miss takes note of layers of which nothing is known in a step. What is counted as
// lost already is not counted again.
func (m *routing) miss(s routed, layers int) {
	j := m.in.j
	j.stats.MoE.MissingLayers += int64(layers)
	n := int64(layers)
	j.losses.add(lossKey{m.in.w.engine.id, "moe", "step_without_choices"}, s.at, s.at, n-m.explain(n))
}

// giveUp lets the first step go without choices. Where none ever came, as of kernels that
// are not known, it is no loss.
func (m *routing) giveUp() {
	if s := m.steps.pop(); m.begun {
		m.miss(s, m.layers())
		m.missing++
	}
}

// match counts what the tokens of a step chose.
func (m *routing) match(s routed, p *pass) {
	e := m.in.w.engine
	e.experts.begin(s.at)
	for i, c := range p.runs {
		e.experts.add(&s, p.placed[i], c)
	}
	m.in.j.stats.MoE.Passes++
	if n := m.layers() - len(p.runs); n > 0 {
		m.miss(s, n)
	}
}
