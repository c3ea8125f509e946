package report

// span is a stretch of time, its end not included.
type span struct{ from, to int64 }

// piece is a span of one part; for the time of a step on the GPU, of that step.
type piece struct {
	span
	part Part
	own  *turn
	step *step
}

// canvas is a life that is painted layer by layer: each covers only what those
// before it left free.
type canvas struct {
	free   []span
	pieces []piece
}

func newCanvas(from, to int64) *canvas {
	c := &canvas{}
	if from < to {
		c.free = []span{{from, to}}
	}
	return c
}

// paint takes a layer sorted by start; where two of its pieces overlap, the first
// one stays.
func (c *canvas) paint(layer []piece) {
	var rest []span
	i := 0
	for _, free := range c.free {
		at := free.from
		for i < len(layer) && layer[i].to <= free.from {
			i++
		}
		for _, p := range layer[i:] {
			if p.from >= free.to {
				break
			}
			from, to := max(p.from, at), min(p.to, free.to)
			if from >= to {
				continue
			}
			if from > at {
				rest = append(rest, span{at, from})
			}
			p.span = span{from, to}
			c.pieces = append(c.pieces, p)
			at = to
		}
		if at < free.to {
			rest = append(rest, span{at, free.to})
		}
	}
	c.free = rest
}

// rest paints all that is left.
func (c *canvas) rest(part Part) {
	for _, free := range c.free {
		c.pieces = append(c.pieces, piece{span: free, part: part})
	}
	c.free = nil
}
