package vllm

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"

	"github.com/pmtrace/pmtrace/probes/cpython"
)

// Bounds of a model's config.
const (
	maxConfigDepth  = 5
	maxConfigValues = 4096
	maxConfigText   = 256
)

// configReader turns a config object of transformers into JSON: what its
// config.json has, with what vLLM's own flags changed of it.
type configReader struct {
	rt   *cpython.Runtime
	left int // values that may still be read
}

// modelConfig reads the config that the engine runs, as JSON; empty where there is
// none, or it cannot be read.
func (r *resolver) modelConfig(config uint64) json.RawMessage {
	obj, err := r.rt.AttrPath(config, "model_config", "hf_config")
	if err != nil {
		return nil
	}
	c := configReader{rt: r.rt, left: maxConfigValues}
	values := c.attributes(obj, maxConfigDepth)
	if values == nil {
		return nil
	}
	if obj, err := r.rt.AttrPath(config, "model_config", "dtype"); err == nil {
		if name := c.dtype(obj); name != "" {
			values["dtype"] = name // as it is run, whatever the checkpoint has
		}
	}
	if _, stored := values["quantization_config"]; !stored {
		if obj, err := r.rt.AttrPath(config, "model_config", "quantization"); err == nil {
			if method, err := r.rt.Str(obj); err == nil {
				values["quantization_config"] = map[string]any{"quant_method": method} // done as it was loaded
			}
		}
	}
	data, err := json.Marshal(values)
	if err != nil {
		return nil
	}
	return data
}

// attributes are an object's own, and the model's type, which is its class's.
func (c *configReader) attributes(obj uint64, depth int) map[string]any {
	items, err := c.rt.Attrs(obj)
	if err != nil {
		return nil
	}
	values := c.items(items, depth)
	if typ, err := c.rt.TypeAddr(obj); err == nil {
		if v, err := c.rt.TypeAttr(typ, "model_type"); err == nil {
			if name, err := c.rt.Str(v); err == nil && values["model_type"] == nil {
				values["model_type"] = name
			}
		}
	}
	return values
}

func (c *configReader) items(items []cpython.DictItem, depth int) map[string]any {
	values := map[string]any{}
	for _, it := range items {
		if c.left <= 0 {
			break
		}
		name, err := c.rt.Str(it.Key)
		if err != nil || len(name) > maxConfigText || strings.HasPrefix(name, "_") {
			continue
		}
		if v, ok := c.value(it.Value, depth); ok {
			values[name] = v
		}
	}
	return values
}

// value is what JSON can say of an object; false: nothing.
func (c *configReader) value(obj uint64, depth int) (any, bool) {
	c.left--
	if depth == 0 || c.left < 0 {
		return nil, false
	}
	if c.rt.IsNone(obj) {
		return nil, true
	}
	t, err := c.rt.Type(obj)
	if err != nil {
		return nil, false
	}
	switch {
	case t.Name == "bool":
		v, err := c.rt.Bool(obj)
		return v, err == nil
	case t.IsInt():
		v, err := c.rt.Int(obj)
		return v, err == nil
	case t.Name == "float":
		v, err := c.rt.Float(obj)
		return v, err == nil && !math.IsNaN(v) && !math.IsInf(v, 0) // JSON has none
	case t.IsStr():
		v, err := c.rt.Str(obj)
		return v, err == nil && len(v) <= maxConfigText
	case t.IsList():
		list, err := c.rt.List(obj)
		return c.list(list, depth), err == nil
	case t.IsTuple():
		list, err := c.rt.Tuple(obj)
		return c.list(list, depth), err == nil
	case t.IsDict():
		items, err := c.rt.Dict(obj)
		return c.items(items, depth-1), err == nil
	case t.Name == "torch.dtype":
		name := c.dtype(obj)
		return name, name != ""
	case strings.HasSuffix(t.Name, "Config"):
		v := c.attributes(obj, depth-1)
		return v, v != nil
	}
	return nil, false
}

func (c *configReader) list(objects []uint64, depth int) []any {
	out := []any{}
	for _, obj := range objects {
		v, ok := c.value(obj, depth-1)
		if !ok {
			break
		}
		out = append(out, v)
	}
	return out
}

// Where a torch.dtype has its name: behind the object's header and one byte
// (struct THPDtype of torch/csrc/Dtype.h).
const (
	dtypeName    = 17
	maxDtypeName = 64
)

// dtype is a torch.dtype's name: bfloat16.
func (c *configReader) dtype(obj uint64) string {
	t, err := c.rt.Type(obj)
	if err != nil || t.Name != "torch.dtype" {
		return ""
	}
	b, err := c.rt.Raw(obj, dtypeName+maxDtypeName)
	if err != nil {
		return ""
	}
	name, _, ok := strings.Cut(string(b[dtypeName:]), "\x00")
	for _, ch := range name {
		if ch != '_' && (ch < '0' || ch > '9') && (ch < 'a' || ch > 'z') {
			return ""
		}
	}
	if !ok {
		return ""
	}
	return name
}

// maxMoELayers bounds the names that are read.
const maxMoELayers = 1024

// moeLayers are the layers with experts, in the order of their execution, by their
// names: model.layers.3.mlp.experts. nil: none, or not known (a version before 0.15, or
// the model is in another process, whose config has them then).
func (r *resolver) moeLayers(config uint64) []int32 { return moeLayers(r.rt, config) }

func moeLayers(rt *cpython.Runtime, config uint64) []int32 {
	obj, err := rt.AttrPath(config, "compilation_config", "static_all_moe_layers")
	if err != nil {
		return nil
	}
	names, err := rt.List(obj)
	if err != nil || len(names) > maxMoELayers {
		return nil
	}
	var out []int32
	for _, at := range names {
		name, err := rt.Str(at)
		if err != nil {
			return nil
		}
		layer, ok := layerOf(name)
		if !ok {
			return nil
		}
		out = append(out, layer)
	}
	return out
}

// layerOf is the first number among a module's names, as vLLM has it.
func layerOf(module string) (int32, bool) {
	for part := range strings.SplitSeq(module, ".") {
		if n, err := strconv.ParseInt(part, 10, 32); err == nil && n >= 0 {
			return int32(n), true
		}
	}
	return 0, false
}
