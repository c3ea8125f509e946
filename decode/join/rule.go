package join

import "github.com/pmtrace/pmtrace/decode/record"

// kind is record's kind of a request in a step, as a number.
type kind uint8

const (
	kindUnknown kind = iota
	kindPrefill
	kindDecode
	kindRecompute
)

func (k kind) String() string {
	switch k {
	case kindPrefill:
		return record.KindPrefill
	case kindDecode:
		return record.KindDecode
	case kindRecompute:
		return record.KindRecompute
	}
	return record.KindUnknown
}

// classify says what a request does in a step, by the rule of VLLM-HOOKS §3.3
// taken literally: with pre tokens computed before the step, prompt tokens in
// its prompt and tokens in prompt and output as the scheduler knows them when
// schedule returns,
//
//   - recompute: it was preempted at some time, and pre < tokens-1: prompt and
//     output are computed again. This holds from the resumption until only the
//     newest token is left; the rest of a prompt whose prefill the preemption
//     cut short belongs to it, because it is one run of chunks.
//   - prefill: otherwise, pre < prompt. The last chunk is part of it, and so is
//     a full prefix hit's single token.
//   - decode: the rest.
//
// Asynchronous scheduling computes tokens that are not in tokens yet, which
// makes pre larger and so never a decode into a recompute.
func classify(pre, prompt, tokens, preemptions int32) kind {
	switch {
	case preemptions > 0 && pre < tokens-1:
		return kindRecompute
	case pre < prompt:
		return kindPrefill
	}
	return kindDecode
}

// phase of a step that has the numbers n of requests by kind. complete says
// that these are all its requests.
func phase(n *[4]int32, tokens int32, complete bool) string {
	prefill := n[kindPrefill]+n[kindRecompute] > 0
	decode := n[kindDecode] > 0
	switch {
	case prefill && decode:
		return record.PhaseMixed
	case tokens == 0:
		return record.PhaseEmpty
	case !complete || n[kindUnknown] > 0:
		return record.PhaseUnknown
	case decode:
		return record.PhaseDecode
	}
	return record.PhasePrefill
}
