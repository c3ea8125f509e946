package join

import (
	"bytes"

	"github.com/pmtrace/pmtrace/decode/wire"
)

// routing is what the routing kernels of a process tell: which experts tokens chose.
// Events make runs of a kernel, runs make forward passes (one run for each layer with
// experts), and passes find their steps.
type routing struct {
	in      *injected
	clock   skewedClock
	begun   bool            // an event was seen
	missed  bool            // events of the ring are missing since the last one
	next    uint32          // number of the next run
	cut     bool            // the run before that has lost rows: what is left of it tells nothing
	open    *choices        // a run whose rows are coming; nil: none
	early   queue[*choices] // runs of an engine that is not known yet
	last    place           // of the newest run in a pass
	grows   *pass           // the newest pass, if it is not complete; nil: none
	passes  queue[*pass]
	steps   queue[routed]
	held    int   // bytes
	lost    int64 // runs that are counted as lost and have no step yet
	gap     int64 // runs lost since the newest that came
	missing int64 // steps given up since the newest pass
	until   int64 // it tells no more since; unset: it does
}

// choices is a run of a routing kernel.
type choices struct {
	number, ordinal uint32
	gpu             int64 // when it was done, by the GPU's clock
	rows, got       uint32
	topK, bytes     uint8
	experts         uint16
	ids             []byte
	weights         []weights
	came            int64
	held            int // bytes
}

// weights are those of some rows of a run.
type weights struct {
	first  int
	values []byte
}

// place is where a run stands among all.
type place struct {
	known  bool
	number uint32
	layer  int // by the order of execution
}

// pass is a forward pass of the model: runs in a row, one for each of its layers.
type pass struct {
	runs   []*choices
	rows   uint32
	lost   int64 // passes before it of which nothing came
	whole  bool  // no more runs come
	came   int64
	held   int
	placed []int // layer of each run
}

// CUPTIMoE takes choices of experts.
func (j *Joiner) CUPTIMoE(ev *wire.CUPTIMoE) error {
	in, t := j.enterCUPTI(&ev.Header)
	in.routing.take(ev, t)
	in.routing.missed = false
	j.settle()
	return j.err
}

// CUPTIClock takes a reading of the GPU's clock.
func (j *Joiner) CUPTIClock(ev *wire.CUPTIClock) error {
	in, _ := j.enterCUPTI(&ev.Header)
	in.routing.clock.read(int64(ev.GPU), j.sessionTime(ev.Before), j.sessionTime(ev.After))
	j.settle()
	return j.err
}

// take adds an event to its run.
func (m *routing) take(ev *wire.CUPTIMoE, t int64) {
	c := m.open
	switch {
	case m.begun && ev.Run == m.next-1:
		if c == nil {
			if !m.cut { // more than it has
				m.in.j.losses.add(lossKey{-1, "moe", "rows_again"}, t, t, 1)
			}
			return
		}
		if !c.continues(ev) {
			m.drop(t)
			return
		}
	default:
		if c != nil {
			m.drop(t)
		}
		m.follow(ev.Run, t)
		if ev.First != 0 {
			m.cut = true
			m.lose(t, t, 1)
			return
		}
		c = &choices{
			number: ev.Run, ordinal: ev.Ordinal, gpu: int64(ev.Time), rows: ev.Rows, topK: ev.TopK, bytes: ev.Bytes, experts: ev.Experts,
		}
		m.open = c
	}
	c.add(ev, t)
	switch {
	case c.got == c.rows:
		m.open = nil
		m.hold(c)
	case c.held > maxRunBytes:
		m.drop(t)
	}
}

// continues reports whether an event has the next rows of a run.
func (c *choices) continues(ev *wire.CUPTIMoE) bool {
	return ev.First == c.got && ev.Rows == c.rows && ev.Ordinal == c.ordinal && ev.TopK == c.topK && ev.Bytes == c.bytes && ev.Experts == c.experts
}

func (c *choices) add(ev *wire.CUPTIMoE, t int64) {
	if ev.Weights != nil {
		c.weights = append(c.weights, weights{int(c.got), bytes.Clone(ev.Weights)})
	}
	c.ids = append(c.ids, ev.IDs...)
	c.held += len(ev.IDs) + len(ev.Weights) + 128
	c.got += uint32(ev.Count)
	c.came = t
}

// follow checks the number of a new run.
func (m *routing) follow(number uint32, t int64) {
	switch n := int64(int32(number - m.next)); {
	case n > 0:
		m.lose(m.in.j.now, t, n)
	case n < 0:
		m.in.j.losses.add(lossKey{-1, "moe", "run_went_back"}, t, t, 1)
		m.last, m.gap = place{}, 0
	}
	m.begun, m.cut, m.next = true, false, number+1
}

// drop gives up the open run: some of its rows are lost.
func (m *routing) drop(t int64) {
	m.lose(m.open.came, t, 1)
	m.open, m.cut = nil, true
}

// lose takes note of runs that did not come as a whole. Where events of the ring are
// missing they are in its own count.
func (m *routing) lose(from, to, n int64) {
	m.lost += n
	m.gap += n
	if !m.missed {
		m.in.j.losses.routing.seen(from, to, n)
	}
}

// hold takes a run with all its rows.
func (m *routing) hold(c *choices) {
	m.early.push(c)
	m.held += c.held
	for m.early.len() > 1 && (m.held > maxHeldChoices || m.early.len() > maxEarlyRuns) {
		m.held -= m.early.pop().held // of the warm-up: the engine is not known yet
		m.in.j.stats.MoE.EarlyRuns++
	}
	m.admit()
}

// admit makes passes of the runs that wait for their engine.
func (m *routing) admit() {
	if m.early.len() == 0 {
		return
	}
	w := m.in.w
	if w == nil || w.engine == nil || !w.engine.known {
		return
	}
	if w.engine.primary == w && w.engine.fact.PP <= 1 { // a stage of a pipeline has its own layers alone
		w.engine.layered(w.routed)
	}
	why := w.engine.unroutable()
	for m.early.len() > 0 {
		if why == layersUnknown && !w.own() && m.in.j.clock-(*m.early.at(0)).came <= holdNS && !m.in.over {
			return // they are read with the worker's graphs
		}
		c := m.early.pop()
		switch {
		case w.engine.primary != w: // all ranks choose alike
			m.held -= c.held
		case why != "":
			m.held -= c.held
			m.in.j.losses.add(lossKey{w.engine.id, "moe", why}, c.came, c.came, 1)
		default:
			m.assemble(c, len(w.engine.routed))
		}
	}
}

const layersUnknown = "layers_unknown"

// unroutable says why runs cannot be told layers; "" if they can.
func (e *engine) unroutable() string {
	switch {
	case len(e.routed) == 0:
		return layersUnknown
	case e.fact.SpecTokens > 0 && (e.fact.DraftMoELayers == nil || *e.fact.DraftMoELayers != 0):
		return "draft_model" // whose layers may have experts of their own
	}
	return ""
}

// assemble puts a run into its pass, of that many layers.
func (m *routing) assemble(c *choices, layers int) {
	at := int(c.ordinal % uint32(layers))
	p := m.grows
	if p != nil && !p.takes(c, layers) {
		p.whole = true
		p = nil
	}
	if p == nil {
		p = &pass{rows: c.rows, lost: m.gap / int64(layers)}
		if m.last.known {
			p.lost = m.last.between(c.number, at, layers)
		}
		p.lost, m.missing = max(p.lost-m.missing, 0), 0
		m.passes.push(p)
	}
	p.runs, p.placed, p.came = append(p.runs, c), append(p.placed, at), c.came
	p.held += c.held
	m.last, m.gap = place{true, c.number, at}, 0
	if m.grows = p; at == layers-1 {
		p.whole, m.grows = true, nil
	}
	if m.full() {
		m.sweep()
	}
	for m.passes.len() > 1 && m.full() {
		m.discard("too_many_held")
	}
}

func (m *routing) full() bool { return m.passes.len() > maxPasses || m.held > maxHeldChoices }

// sweep drops dummy batches behind a pass whose step is held: the server may be idle while
// other ranks are not.
func (m *routing) sweep() {
	if m.steps.len() > 0 || !m.clock.known() {
		return
	}
	kept := queue[*pass]{}
	for m.passes.len() > 0 {
		p := *m.passes.at(0)
		if p.whole && m.in.j.clock-p.came > lastWordsNS && !m.expected(m.span(p)) {
			m.dummy()
		} else {
			kept.push(m.passes.pop())
		}
	}
	m.passes = kept
}

// takes reports whether a run is a later layer of the same pass.
func (p *pass) takes(c *choices, layers int) bool {
	last := p.runs[len(p.runs)-1]
	n := c.number - last.number
	return n > 0 && uint64(p.placed[len(p.placed)-1])+uint64(n) < uint64(layers) && c.ordinal-last.ordinal == n && c.rows == p.rows
}

// between is how many passes, nothing of which came, lie between a run and a later one.
func (p *place) between(number uint32, layer, layers int) int64 {
	lost := int64(number-p.number) - 1
	return max(lost-int64(layers-1-p.layer)-int64(layer), 0) / int64(layers)
}

// discard drops the oldest pass, which is a loss.
func (m *routing) discard(reason string) {
	p := m.pop()
	m.lost += int64(len(p.runs))
	m.in.j.losses.add(lossKey{-1, "moe", reason}, p.runs[0].came, p.came, int64(len(p.runs)))
}

func (m *routing) pop() *pass {
	p := m.passes.pop()
	m.held -= p.held
	if p == m.grows {
		m.grows = nil
	}
	return p
}

// close takes note that nothing more comes, and that all steps are there.
func (m *routing) close() {
	if m.open != nil {
		m.drop(m.open.came)
	}
	m.admit()
	if n := m.early.len(); n > 0 {
		t := (*m.early.at(0)).came
		m.in.j.losses.add(lossKey{-1, "moe", "engine_unknown"}, t, m.in.j.clock, int64(n))
	}
	m.settle(true)
}
