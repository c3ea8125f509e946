package model

import "strings"

// Quantization is how the linear layers' weights are stored. Embeddings, head,
// norms and routers are as the model's dtype says.
type Quantization struct {
	Method string
	// Bits are those of a weight with its share of the scales; 0: not quantised.
	Bits float64
	// Products are of this type where the GPU has it.
	Products DType
	// ExpertsOnly leaves attention and dense MLPs as they are.
	ExpertsOnly bool
	// Partly names modules besides that are not quantised, but counted as if.
	Partly bool
}

func (o *object) quantization(c *Config) error {
	q := o.child("quantization_config")
	if q == nil {
		return nil
	}
	z := Quantization{Method: q.text("quant_method"), Products: c.DType}
	group := 0. // -1: one scale a channel, which is next to nothing
	if string(q.values["group_size"]) != "-1" {
		group = float64(q.count("group_size", 128))
	}
	switch z.Method {
	case "fp8":
		z.Bits, z.Products = 8, FP8
		if block := q.counts("weight_block_size"); len(block) == 2 && block[0] > 0 && block[1] > 0 {
			z.Bits += 32 / float64(block[0]*block[1])
		}
	case "awq", "gptq":
		bits := float64(q.need("bits"))
		z.Bits = bits
		if group > 0 {
			z.Bits += (16 + bits) / group // a scale and a zero point a group
		}
	case "mxfp4":
		z.Bits = 4 + 8./32
	case "modelopt":
		switch algorithm := q.text("quant_algo"); algorithm {
		case "FP8":
			z.Bits, z.Products = 8, FP8
		case "NVFP4":
			z.Bits, z.Products = 4+8./16, FP4
		default:
			return unknown("quant_algo %q", clip(algorithm))
		}
	case "compressed-tensors":
		if err := q.compressed(&z); err != nil {
			return err
		}
	default:
		return unknown("quantisation %q", clip(z.Method))
	}
	z.exceptions(append(append(q.texts("modules_to_not_convert"), q.texts("ignore")...), q.texts("ignored_layers")...))
	if q.err != nil {
		return q.err
	}
	if z.Bits <= 0 || z.Bits > 32 {
		return unknown("quantisation to %g bits", z.Bits)
	}
	c.Quantization = z
	return nil
}

// compressed reads the scheme of compressed-tensors, if all groups have one.
func (o *object) compressed(z *Quantization) error {
	groups := o.child("config_groups")
	if groups == nil || len(groups.values) != 1 {
		return unknown("compressed-tensors with several schemes")
	}
	for name := range groups.values {
		g := groups.child(name)
		if g == nil {
			return unknown("compressed-tensors without a scheme")
		}
		w := g.child("weights")
		if w == nil {
			return unknown("compressed-tensors without weights")
		}
		bits := float64(w.need("num_bits"))
		z.Bits = bits
		if group := w.count("group_size", 0); group > 0 {
			scale := 16.
			if w.text("type") == "float" && bits == 4 {
				scale = 8 // NVFP4
			}
			z.Bits += scale / float64(group)
		}
		if activations := g.child("input_activations"); activations != nil {
			switch kind, n := activations.text("type"), activations.count("num_bits", 0); {
			case kind == "float" && n == 8 && bits == 8:
				z.Products = FP8
			case kind == "int" && n == 8 && bits == 8:
				z.Products = INT8
			case kind == "float" && n == 4 && bits == 4:
				z.Products = FP4
			}
		}
		return w.err
	}
	return nil
}

// exceptions looks at the modules that are not quantised.
func (z *Quantization) exceptions(modules []string) {
	for _, m := range modules {
		switch {
		case strings.Contains(m, "lm_head"), strings.Contains(m, "embed"), strings.Contains(m, "router"), strings.Contains(m, "norm"),
			strings.HasSuffix(m, ".gate"), strings.Contains(m, "vision"), strings.Contains(m, "visual"):
		case strings.Contains(m, "attn") && strings.Contains(m, "*") && z.Method == "mxfp4":
			z.ExpertsOnly = true
		default:
			z.Partly = true
		}
	}
}
