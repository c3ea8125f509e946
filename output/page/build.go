package page

import (
	"maps"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/findings"
	"github.com/pmtrace/pmtrace/output/report"
	"github.com/pmtrace/pmtrace/output/session"
)

// data is what the page's charts are drawn from. Times are ns since the session began.
type data struct {
	Session string   `json:"session"`
	Served  bool     `json:"served"`           // more can be asked for
	Tables  []string `json:"tables,omitempty"` // whose rows can be had
	FromNS  int64    `json:"from_ns"`
	ToNS    int64    `json:"to_ns"` // of the steps
	Steps   int64    `json:"steps"`
	Phases  []string `json:"phases"`
	// How most times on the GPU were got, and how far off they may be: p99; 0 is not known.
	GPUSource  string  `json:"gpu_timing_source"`
	GPUErrorNS float64 `json:"gpu_error_bound_p99_ns"`

	Engines  []engineData  `json:"engines"`
	Windows  []window      `json:"windows"`
	Moments  []moment      `json:"moments"`
	Latency  latencyData   `json:"latency"`
	Graphs   []graphSize   `json:"graphs"`
	Experts  *expertData   `json:"experts"`
	Kernels  *kernelData   `json:"kernels"`
	Roofline *rooflineData `json:"roofline"`
	Devices  []deviceData  `json:"devices"`
	Requests *requestData  `json:"requests"`
}

// engineData is an engine and what it did.
type engineData struct {
	Engine    int32    `json:"engine"`
	MaxSeqs   int      `json:"max_num_seqs"` // 0: not known
	MaxTokens int      `json:"max_num_batched_tokens"`
	KVTotal   int64    `json:"kv_total_blocks"`
	Timeline  timeline `json:"timeline"`
}

// Page is a session, ready to be written.
type Page struct {
	summary  *session.Summary
	findings []findings.Finding
	data     data
}

// collector sees all rows but those of requests in steps, and of kernels.
type collector struct {
	most      int // buckets an engine
	engines   map[int32]*engine
	origin    int64
	latencies latencies
	graphs    graphSizes
	experts   experts
	roofline  roofline
	devices   devices
	moments   moments
}

func newCollector(engines int) *collector {
	return &collector{
		most:    max(mostBuckets/max(engines, 1), leastBuckets),
		engines: map[int32]*engine{}, graphs: graphSizes{}, experts: experts{layers: map[int32][]int64{}},
		roofline: roofline{cells: map[cell]int64{}}, devices: devices{},
	}
}

func (c *collector) visitor() session.Visitor {
	return session.Visitor{
		Step: func(r *record.StepRow) error { c.step(r); return nil },
		Preemption: func(r *record.PreemptionRow) error {
			c.event(r.Engine, r.TimeNS, func(b *bucket) { b.preempted++ })
			return nil
		},
		Request:       func(r *record.RequestRow) error { c.request(r); return nil },
		KVEviction:    func(r *record.KVEvictionRow) error { c.eviction(r); return nil },
		GPUSample:     func(r *record.GPUSampleRow) error { c.devices.sample(r); return nil },
		MoEActivation: func(r *record.MoEActivationRow) error { c.experts.activation(r); return nil },
		MoEImbalance:  func(r *record.MoEImbalanceRow) error { c.experts.imbalance(r); return nil },
	}
}

func (c *collector) step(r *record.StepRow) {
	e := c.engines[r.Engine]
	if e == nil {
		if len(c.engines) == 0 {
			c.origin = r.StartNS // rows come in the order of time
		}
		e = newEngine(c.origin, c.most)
		c.engines[r.Engine] = e
	}
	e.step(r)
	c.latencies.step(r)
	c.graphs.step(r)
	c.roofline.step(r)
	c.moments.step(r)
}

func (c *collector) request(r *record.RequestRow) {
	c.latencies.request(r)
	if r.ArrivalNS != nil {
		c.event(r.Engine, *r.ArrivalNS, func(b *bucket) { b.arrived++ })
	}
	if r.FinishedNS != nil {
		c.event(r.Engine, *r.FinishedNS, func(b *bucket) { b.finished++ })
	}
}

func (c *collector) eviction(r *record.KVEvictionRow) {
	if r.HadHash { // cached content was lost
		c.event(r.Engine, r.TimeNS, func(b *bucket) { b.evicted++ })
	}
}

// event counts something that happened while there were steps.
func (c *collector) event(engine int32, ns int64, count func(*bucket)) {
	if e := c.engines[engine]; e != nil && ns >= c.origin && ns <= e.to {
		count(e.grid.at(ns))
	}
}

// Build reads a session.
func Build(dir *session.Dir, facts *session.Facts) (*Page, error) {
	p := &Page{summary: session.NewSummary(dir, facts)}
	slow, err := report.Choose(dir, report.Orders(), topRequests)
	if err != nil {
		return nil, err
	}
	c, search := newCollector(len(facts.Engines)), findings.NewSearch(facts)
	var both errgroup.Group
	both.Go(func() error {
		return session.Visit(dir, p.summary.Visitor(), search.Visitor(), c.visitor(), slow.Visitor())
	})
	both.Go(func() (err error) {
		p.data.Kernels, err = readKernels(dir)
		return err
	})
	if err := both.Wait(); err != nil {
		return nil, err
	}
	if p.data.Requests, err = explain(dir, slow, facts.Engines); err != nil {
		return nil, err
	}
	p.findings = search.Findings()
	p.data.Session = dir.Name()
	c.fill(&p.data, facts, p.summary)
	return p, p.windows(dir, c)
}

func (c *collector) fill(d *data, facts *session.Facts, sum *session.Summary) {
	d.Phases = phases[:]
	d.FromNS, d.ToNS, d.Steps = sum.FirstNS, sum.LastNS, sum.Steps+sum.EmptySteps
	d.GPUSource = sum.GPU.Source()
	if sum.GPU.Error.Count() > 0 {
		d.GPUErrorNS = sum.GPU.Error.Percentile(99)
	}
	d.Engines = []engineData{}
	for _, index := range slices.Sorted(maps.Keys(c.engines)) {
		e, known := c.engines[index], facts.Engine(index)
		d.Engines = append(d.Engines, engineData{index, known.MaxSeqs, known.MaxTokens, e.kvTotal, e.timeline()})
	}
	d.Latency = c.latencies.data(sum)
	d.Graphs, d.Experts, d.Roofline = c.graphs.data(), c.experts.data(), c.roofline.data()
	d.Devices = c.devices.data(facts.GPUs)
	d.Moments = c.moments.data(c.around(d))
}

// each is how long it was from a step to the next, on average.
func (c *collector) each(d *data) int64 {
	if d.Steps == 0 {
		return 0
	}
	return (d.ToNS - d.FromNS) * int64(max(len(c.engines), 1)) / d.Steps
}

// around is the time of some dozens of steps, in which something is seen together with
// what led to it.
func (c *collector) around(d *data) int64 {
	return min(60*c.each(d), int64(10*time.Second))
}

// windows reads the steps of the stretches that are worth it: of all time where it is
// short, else of the moments and of the slowest requests, or their beginnings.
func (p *Page) windows(dir *session.Dir, c *collector) error {
	const (
		requestsEach = 4
		longest      = 1000 // steps
	)
	var spans []span
	if p.data.Steps <= mostRaw {
		for index, e := range c.engines {
			spans = append(spans, span{index, e.from, e.to + 1})
		}
	} else {
		for _, m := range p.data.Moments {
			spans = append(spans, span{m.Engine, m.FromNS, m.ToNS})
		}
		for _, s := range p.data.Requests.spans(requestsEach, c.around(&p.data)/2) {
			s.to = min(s.to, s.from+longest*c.each(&p.data))
			spans = append(spans, s)
		}
	}
	var err error
	p.data.Windows, err = readWindows(dir, spans, mostRaw)
	return err
}
