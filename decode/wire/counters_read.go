package wire

import "math"

const (
	countersHead   = 16
	counterSample  = 12 // end and length
	maxCounterRows = 64 // metrics of a sample
)

// kindCounters stands in errors for what is no event.
const kindCounters Kind = 'C' << 8

// ReadCounters reads a batch of samples. The values stay in b.
func ReadCounters(b []byte) (Counters, error) {
	if len(b) < countersHead {
		return Counters{}, &Error{Kind: kindCounters, Reason: ReasonShort, Got: len(b), Want: countersHead}
	}
	if b[0] != CountersVersion {
		return Counters{}, &Error{Kind: kindCounters, Reason: ReasonVersion, Got: int(b[0]), Want: CountersVersion}
	}
	c := Counters{GPU: b[1], Metrics: int(le.Uint16(b[2:])), Lost: le.Uint64(b[8:])}
	if c.Metrics > maxCounterRows {
		return Counters{}, &Error{Kind: kindCounters, Reason: ReasonValue, Got: c.Metrics, Want: maxCounterRows}
	}
	samples := uint64(le.Uint32(b[4:]))
	want := countersHead + samples*uint64(counterSample+4*c.Metrics)
	if uint64(len(b)) != want {
		return Counters{}, &Error{Kind: kindCounters, Reason: ReasonSize, Got: len(b), Want: int(want)}
	}
	c.Samples = int(samples)
	b = b[countersHead:]
	c.ends, b = b[:8*c.Samples], b[8*c.Samples:]
	c.lengths, c.values = b[:4*c.Samples], b[4*c.Samples:]
	return c, nil
}

// End is when sample i ended, ns of the GPU's timer.
func (c *Counters) End(i int) uint64 { return le.Uint64(c.ends[8*i:]) }

// Length is the duration of sample i, ns.
func (c *Counters) Length(i int) uint32 { return le.Uint32(c.lengths[4*i:]) }

// Value is metric m of sample i; NaN where it could not be evaluated.
func (c *Counters) Value(m, i int) float32 {
	return math.Float32frombits(le.Uint32(c.values[4*(m*c.Samples+i):]))
}

// AppendCounters appends a batch of samples in the layout of Counters. values
// has a list for each metric, all as long as ends.
func AppendCounters(b []byte, gpu uint8, lost uint64, ends []uint64, lengths []uint32, values [][]float32) []byte {
	b = append(b, CountersVersion, gpu)
	b = le.AppendUint16(b, uint16(len(values)))
	b = le.AppendUint32(b, uint32(len(ends)))
	b = le.AppendUint64(b, lost)
	for _, t := range ends {
		b = le.AppendUint64(b, t)
	}
	for _, n := range lengths {
		b = le.AppendUint32(b, n)
	}
	for _, metric := range values {
		for _, v := range metric {
			b = le.AppendUint32(b, math.Float32bits(v))
		}
	}
	return b
}
