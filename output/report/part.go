package report

import (
	"bytes"
	"strconv"
)

// Part is a kind of time in a request's life.
type Part int

const (
	Frontend      Part = iota // not at the engine yet: its queue was seen without it
	NextSchedule              // on the way, or waiting for the engine to schedule at all
	QueueSeqs                 // max_num_seqs requests ran
	QueueTokens               // the step's tokens were given to others
	QueueBlocks               // KV blocks were short
	QueueOther                // queued, and no limit shows itself
	OwnPrefill                // GPU: computes its prompt
	Recompute                 // GPU: computes again what a preemption threw away
	Decode                    // GPU: computes its new tokens
	OthersPrefill             // GPU: what prompts of others added to steps that it was in
	OtherSteps                // GPU: steps that it was not in
	Preempted                 // thrown out of the batch
	Schedule                  // host, while the GPU ran none of its steps: …
	Prepare                   // … prepares the inputs
	Launch                    // … launches
	OutputWait                // … returns from waiting for the GPU
	Update                    // … hands out tokens
	HostOther                 // … in none of its known operations
	Unknown

	parts = int(Unknown) + 1
)

var partNames = [parts]struct{ column, text string }{
	{"frontend", "frontend: not yet at the engine"},
	{"next_schedule", "until the next schedule call"},
	{"queue_max_num_seqs", "queue: max_num_seqs reached *"},
	{"queue_token_budget", "queue: token budget used up *"},
	{"queue_kv_blocks", "queue: KV blocks short *"},
	{"queue_other", "queue: no limit shows itself"},
	{"own_prefill", "own prefill"},
	{"recompute", "recompute after preemption"},
	{"decode", "decode"},
	{"others_prefill", "prefill of others *"},
	{"other_steps", "steps without it"},
	{"preempted", "preempted: out of the batch"},
	{"host_schedule", "host: schedule"},
	{"host_prepare", "host: prepare inputs"},
	{"host_launch", "host: launch"},
	{"host_output_wait", "host: output wait"},
	{"host_update", "host: update"},
	{"host_other", "host: other"},
	{"unknown", "unknown"},
}

// Column is its name in JSON, without the unit.
func (p Part) Column() string { return partNames[p].column }

// Text is its name for a person. A star marks an attribution.
func (p Part) Text() string { return partNames[p].text }

// Parts are the nanoseconds of each part.
type Parts [parts]int64

// Sum is the whole that the parts make.
func (p *Parts) Sum() (ns int64) { return p.Of(Frontend, Unknown) }

// Of sums the parts from first to last.
func (p *Parts) Of(first, last Part) (ns int64) {
	for _, part := range p[first : last+1] {
		ns += part
	}
	return ns
}

func (p *Parts) add(q *Parts) {
	for i := range p {
		p[i] += q[i]
	}
}

// MarshalJSON keeps the order, and names the unit.
func (p Parts) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, ns := range p {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Quote(Part(i).Column() + "_ns"))
		b.WriteByte(':')
		b.WriteString(strconv.FormatInt(ns, 10))
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}
