package join

import (
	"strconv"

	"github.com/pmtrace/pmtrace/decode/record"
)

// Holders of the model's own graphs. Those of encoders and speculators are others.
const (
	holderModel     = "model"
	holderPiecewise = "piecewise"
	holderBreakable = "breakable"
	holderUBatch    = "ubatch"
)

// Modes of a step: what vLLM's CUDAGraphMode calls them.
const (
	modeFull      = "FULL"
	modePiecewise = "PIECEWISE"
	modeNone      = "NONE"
)

func ofModel(holder string) bool {
	switch holder {
	case holderModel, holderPiecewise, holderBreakable, holderUBatch:
		return true
	}
	return false
}

// descriptor is the text of a graph's key as vLLM's BatchDescriptor prints itself,
// with the mode in front; empty where there is no mode.
func descriptor(g *record.Graph) string {
	if g.Mode == "" {
		return ""
	}
	return g.Mode + ":BatchDescriptor(num_tokens=" + number(g.NumTokens) + ", num_reqs=" + number(g.NumReqs) +
		", uniform=" + truth(g.Uniform) + ", has_lora=" + truth(hasLora(g)) + ")"
}

// hasLora is the field, or what the number that took its place says.
func hasLora(g *record.Graph) *bool {
	if g.HasLora == nil && g.NumActiveLoras != nil {
		has := *g.NumActiveLoras > 0
		return &has
	}
	return g.HasLora
}

func number(n *int) string {
	if n == nil {
		return "None"
	}
	return strconv.Itoa(*n)
}

func truth(b *bool) string {
	switch {
	case b == nil:
		return "None"
	case *b:
		return "True"
	}
	return "False"
}
