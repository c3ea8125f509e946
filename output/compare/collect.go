package compare

import (
	"math"
	"slices"

	"github.com/pmtrace/pmtrace/decode/record"
)

const (
	// Neighbours in time are alike: what a block is drawn for must be longer than that.
	blockNS = 2e9
	// More blocks say no more, and cost memory: then two become one.
	maxBlocks = 256
)

// collector makes a Run of a session's rows. Steps come first, in their order.
type collector struct {
	setup  Setup
	blocks map[int64]*block
	ns     int64 // length of a block
	from   int64 // the first step with tokens
	until  int64 // the last end of a step so far
	began  bool
	kv     bool
	peak   float64
	totals map[int32]int32 // KV blocks, by engine
}

func newCollector(setup Setup) *collector {
	return &collector{setup: setup, blocks: map[int64]*block{}, ns: blockNS, totals: map[int32]int32{}}
}

// at returns the block of a time. What lies outside of the steps belongs to the first.
func (c *collector) at(ns int64) *block {
	i := max(ns-c.from, 0) / c.ns
	if b := c.blocks[i]; b != nil {
		return b
	}
	if len(c.blocks) == maxBlocks {
		c.halve()
		return c.at(ns)
	}
	b := &block{}
	c.blocks[i] = b
	return b
}

// halve makes one block of two neighbours each, in their order.
func (c *collector) halve() {
	halved := map[int64]*block{}
	for _, i := range c.order() {
		if b := halved[i/2]; b != nil {
			b.merge(c.blocks[i])
			continue
		}
		halved[i/2] = c.blocks[i]
	}
	c.blocks = halved
	c.ns *= 2
}

func (c *collector) order() []int64 {
	var order []int64
	for i := range c.blocks {
		order = append(order, i)
	}
	slices.Sort(order)
	return order
}

func (c *collector) step(r *record.StepRow) {
	if r.KVTotal != nil && r.KVUsed != nil {
		c.totals[r.Engine] = *r.KVTotal
		c.use(r.Engine, *r.KVUsed)
	}
	if r.Tokens == 0 {
		return
	}
	if !c.began {
		c.began, c.from, c.until = true, r.StartNS, r.StartNS
	}
	b := c.at(r.StartNS)
	end := r.ScheduledNS
	if r.EndNS != nil {
		end = *r.EndNS
	}
	// Before a step of new requests alone there was nothing to do.
	from := c.until
	if r.NewRequests == r.Requests {
		from = max(from, r.StartNS)
	}
	b.sums[sumBusy] += float64(max(end-from, 0)) / 1e9
	c.until = max(c.until, end)

	b.sums[sumSteps]++
	b.sums[sumRequests] += float64(r.Requests)
	b.sums[sumTokens] += float64(r.Tokens)
	b.sums[sumPreemptions] += float64(r.Preempted)
	if r.OutputTokens != nil {
		b.sums[sumOutput] += float64(*r.OutputTokens)
	}
	if d, ok := phaseDist(r.Phase); ok && r.EndNS != nil {
		b.add(d, *r.EndNS-r.StartNS)
	}
	b.gpu(r)
}

func phaseDist(phase string) (dist, bool) {
	switch phase {
	case record.PhaseDecode:
		return distDecode, true
	case record.PhasePrefill:
		return distPrefill, true
	case record.PhaseMixed:
		return distMixed, true
	}
	return 0, false
}

func (b *block) gpu(r *record.StepRow) {
	if r.StepGPUNS != nil {
		b.add(distGPU, *r.StepGPUNS)
		if r.MBU != nil && r.Phase == record.PhaseDecode {
			b.sums[sumMBU] += *r.MBU * float64(*r.StepGPUNS)
			b.sums[sumMBUTime] += float64(*r.StepGPUNS)
		}
	}
	if r.GPUIdleNS != nil && r.NewRequests < r.Requests {
		b.add(distIdle, *r.GPUIdleNS)
		b.sums[sumIdle] += float64(max(*r.GPUIdleNS, 0))
		b.sums[sumIdleSteps]++
	}
	if r.GraphMode != nil {
		b.sums[sumGraphKnown]++
		if *r.GraphMode != "NONE" {
			b.sums[sumInGraphs]++
		}
	}
	if r.PaddedTokens != nil {
		b.sums[sumPadded] += float64(*r.PaddedTokens)
		b.sums[sumPadding] += float64(max(*r.PaddedTokens-r.Tokens, 0))
	}
}

func (c *collector) request(r *record.RequestRow) {
	if r.FinishedNS == nil {
		return
	}
	b := c.at(*r.FinishedNS)
	b.sums[sumFinished]++
	if r.ArrivalNS != nil {
		b.add(distTotal, *r.FinishedNS-*r.ArrivalNS)
		if r.FirstTokNS != nil {
			b.add(distTTFT, *r.FirstTokNS-*r.ArrivalNS)
		}
	}
	if r.QueueNS != nil {
		b.add(distQueue, *r.QueueNS)
	}
	if r.DecodeNS != nil && r.OutputTokens != nil && *r.OutputTokens > 1 {
		b.add(distTPOT, *r.DecodeNS/int64(*r.OutputTokens-1))
	}
}

func (c *collector) cpuOperation(r *record.CPUOperationRow) {
	c.at(r.TimeNS).operate(r.Operation, operation{float64(r.DurNS), 1})
}

func (c *collector) eviction(r *record.KVEvictionRow) {
	if r.HadHash {
		c.at(r.TimeNS).sums[sumEvictions]++
	}
}

// kvUsage is for the peak: between two steps the cache may be fuller than at either.
func (c *collector) kvUsage(r *record.KVUsageRow) {
	if total, ok := c.totals[r.Engine]; ok && r.FreeAfter != nil {
		c.use(r.Engine, total-*r.FreeAfter)
	}
}

func (c *collector) use(engine, used int32) {
	if total := c.totals[engine]; total > 0 {
		c.kv = true
		c.peak = max(c.peak, float64(used)/float64(total))
	}
}

// run ends the collection. What was not watched is not 0 but not known.
func (c *collector) run() *Run {
	r := &Run{Setup: c.setup, seconds: float64(c.ns) / 1e9, peak: c.peak}
	if !c.kv {
		r.peak = math.NaN()
	}
	for _, i := range c.order() {
		b := c.blocks[i]
		if !c.setup.evictions {
			b.sums[sumEvictions] = math.NaN()
		}
		if !c.setup.preemptions {
			b.sums[sumPreemptions] = math.NaN()
		}
		r.blocks, r.places = append(r.blocks, b), append(r.places, i)
	}
	r.index()
	return r
}
