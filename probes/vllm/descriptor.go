package vllm

import (
	"strconv"
	"strings"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/probes/cpython"
)

// maxFields is above what any descriptor has.
const maxFields = 32

// describe puts what a key of a dict of graphs says into g. It may be a
// BatchDescriptor (a NamedTuple to 0.15, later a dataclass), V2's
// BatchExecutionDescriptor, a number of tokens, an encoder's budget or path, or
// a tuple that begins with one of these. The error is that of the field that
// could not be read.
func describe(rt *cpython.Runtime, key uint64, g *record.Graph) error {
	t, err := rt.Type(key)
	if err != nil {
		return err
	}
	switch {
	case t.IsInt():
		n, err := rt.Int(key)
		if err != nil {
			return err
		}
		v := int(n)
		g.NumTokens = &v
		return nil
	case t.IsStr():
		g.Key, err = rt.Str(key)
		return err
	case t.IsTuple():
		return describeTuple(rt, t, key, g)
	}
	items, err := rt.Attrs(key)
	if err != nil {
		return err
	}
	if len(items) == 0 || len(items) > maxFields {
		return cpython.WrongType
	}
	for _, it := range items {
		name, err := rt.Str(it.Key)
		if err != nil {
			return err
		}
		if err := describeField(rt, name, it.Value, g); err != nil {
			return err
		}
	}
	return nil
}

// describeTuple reads a NamedTuple by its names, or a plain tuple by its first
// item, with the whole of it as the key.
func describeTuple(rt *cpython.Runtime, t cpython.Type, key uint64, g *record.Graph) error {
	items, err := rt.Tuple(key)
	if err != nil {
		return err
	}
	if len(items) == 0 || len(items) > maxFields {
		return cpython.WrongType
	}
	if names, err := rt.TypeAttr(t.Addr, "_fields"); err == nil {
		fields, err := rt.Tuple(names)
		if err != nil {
			return err
		}
		if len(fields) != len(items) {
			return cpython.WrongType
		}
		for i, f := range fields {
			name, err := rt.Str(f)
			if err != nil {
				return err
			}
			if err := describeField(rt, name, items[i], g); err != nil {
				return err
			}
		}
		return nil
	}
	g.Key = keyText(rt, key, 0)
	return describe(rt, items[0], g)
}

func describeField(rt *cpython.Runtime, name string, obj uint64, g *record.Graph) error {
	number := map[string]**int{
		"num_tokens": &g.NumTokens, "num_reqs": &g.NumReqs, "uniform_token_count": &g.UniformTokenCount,
		"num_active_loras": &g.NumActiveLoras, "max_query_len": &g.MaxQueryLen, "num_ubatches": &g.NumUbatches,
	}
	flag := map[string]**bool{"uniform": &g.Uniform, "uniform_decode": &g.Uniform, "has_lora": &g.HasLora}
	switch to, isNumber := number[name]; {
	case isNumber && rt.IsNone(obj):
		if name == "uniform_token_count" {
			g.Uniform = new(bool)
		}
	case isNumber:
		n, err := rt.Int(obj)
		if err != nil {
			return err
		}
		v := int(n)
		*to = &v
		if name == "uniform_token_count" {
			uniform := true
			g.Uniform = &uniform
		}
	case flag[name] != nil:
		v, err := rt.Bool(obj)
		if err != nil {
			return err
		}
		*flag[name] = &v
	case name == "cg_mode":
		e, err := rt.Enum(obj)
		if err != nil {
			return err
		}
		g.Mode = e.Name
	}
	return nil
}

const (
	maxKeyDepth = 4
	maxKeyText  = 200
)

// keyText prints a key that is no descriptor: numbers, strings and tuples of them.
func keyText(rt *cpython.Runtime, obj uint64, depth int) string {
	t, err := rt.Type(obj)
	switch {
	case err != nil || depth > maxKeyDepth:
		return "?"
	case t.IsInt():
		if n, err := rt.Int(obj); err == nil {
			return strconv.FormatInt(n, 10)
		}
	case t.IsStr():
		if s, err := rt.Str(obj); err == nil {
			return clip(s)
		}
	case t.IsTuple():
		items, err := rt.Tuple(obj)
		if err != nil || len(items) > maxFields {
			return "?"
		}
		parts := make([]string, len(items))
		for i, it := range items {
			parts[i] = keyText(rt, it, depth+1)
		}
		return clip("(" + strings.Join(parts, ", ") + ")")
	}
	return t.Name
}

func clip(s string) string {
	if len(s) > maxKeyText {
		return strings.ToValidUTF8(s[:maxKeyText], "")
	}
	return s
}
