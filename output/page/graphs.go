package page

import (
	"cmp"
	"math/bits"
	"slices"

	"github.com/pmtrace/pmtrace/decode/record"
)

// Modes of steps, by the column cudagraph_mode.
const (
	modeFull      = "FULL"
	modePiecewise = "PIECEWISE"
	modeEager     = "NONE"
)

// modes in the order of the page.
var modes = [...]string{modeFull, modePiecewise, modeEager}

func modeIndex(mode string) int64 { return int64(slices.Index(modes[:], mode)) }

// graphSize is what ran by graphs of one size, or without a graph.
type graphSize struct {
	Mode   string `json:"mode"`
	Size   int32  `json:"size"` // tokens that it computes; without a graph: at most, to a power of two
	Steps  int64  `json:"steps"`
	Tokens int64  `json:"tokens"` // scheduled
	Padded int64  `json:"padded"` // computed
}

type graphKey struct {
	mode string
	size int32
}

// mostSizes bounds the sizes that are told apart.
const mostSizes = 2048

type graphSizes map[graphKey]*graphSize

func (g graphSizes) step(r *record.StepRow) {
	if r.Tokens == 0 || r.GraphMode == nil {
		return
	}
	padded := r.Tokens
	if r.PaddedTokens != nil {
		padded = max(padded, *r.PaddedTokens)
	}
	key := graphKey{*r.GraphMode, padded}
	if key.mode == modeEager || len(g) >= mostSizes {
		key.size = 1 << bits.Len32(uint32(min(padded, 1<<30)-1))
	}
	s := g[key]
	if s == nil {
		s = &graphSize{Mode: key.mode, Size: key.size}
		g[key] = s
	}
	s.Steps++
	s.Tokens += int64(r.Tokens)
	s.Padded += int64(padded)
}

func (g graphSizes) data() []graphSize {
	list := []graphSize{}
	for _, s := range g {
		list = append(list, *s)
	}
	slices.SortFunc(list, func(a, b graphSize) int {
		return cmp.Or(cmp.Compare(modeIndex(a.Mode), modeIndex(b.Mode)), cmp.Compare(a.Mode, b.Mode), cmp.Compare(a.Size, b.Size))
	})
	return list
}
