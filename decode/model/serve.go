package model

import (
	"errors"
	"fmt"
	"strings"
)

// Serving is how an engine serves a model.
type Serving struct {
	TensorParallel, PipelineParallel, DataParallel int
	KVCache                                        string // vLLM's cache_dtype
}

// Serve reads a config, and how much of the model each GPU has. An error says why that
// is not known.
func Serve(config []byte, s Serving) (*Config, Setup, error) {
	setup := Setup{TensorParallel: s.TensorParallel}
	if len(config) == 0 {
		return nil, setup, errors.New("the model's config could not be read")
	}
	c, err := Parse(config)
	switch {
	case err != nil:
		return nil, setup, err
	case s.PipelineParallel > 1:
		return nil, setup, errors.New("of a pipeline each stage does its own part")
	case s.DataParallel > 1 && c.MoE != nil:
		return nil, setup, errors.New("with data parallelism experts are shared out among the engines, which run each other's tokens")
	}
	switch t := s.KVCache; {
	case t == "" || t == "auto":
	case strings.HasPrefix(t, "fp8"):
		setup.KVCache = FP8
	case t == "bfloat16":
		setup.KVCache = BF16
	case t == "float16":
		setup.KVCache = FP16
	default:
		return nil, setup, fmt.Errorf("a KV cache of type %.40q is not known", t)
	}
	return c, setup, nil
}
