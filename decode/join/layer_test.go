package join

import (
	"strings"
	"testing"

	"github.com/go-quicktest/qt"
)

// TestRepeated: the kernels of a decode step of qwen3-moe as vLLM 0.33 runs them on an
// H100, and others.
func TestRepeated(t *testing.T) {
	layer := []string{
		"nvjet_a", "triton_per_fused", "triton_poi_fused", "reshape_and_cache", "flash", "combine", "nvjet_b",
		"triton_per_fused_fused_add_rms_norm_moe_forward", "nvjet_c", "topkGating", "align", "fused_moe_kernel", "act_and_mul",
		"fused_moe_kernel", "moe_sum", "triton_per_fused_fused_add_rms_norm",
	}
	model := []string{"triton_per_fused__to_copy_embedding_rms_norm"}
	for range 8 {
		model = append(model, layer...)
	}
	for _, c := range []struct {
		name          string
		names         []string
		n             int
		first, period int
	}{
		{"qwen3-moe", model, 8, 1, 16},
		{"a kernel behind it", append(model[:len(model):len(model)], "lm_head"), 8, 1, 16},
		{"one is missing", model[:len(model)-1], 8, 0, 0},
		{"layers of two kinds", strings.Fields("e a b a b a b c d c d"), 5, 0, 0},
		{"the same all the time", strings.Fields("a a a a a a"), 3, 0, 2},
		{"fewer than layers", strings.Fields("a b"), 3, 0, 0},
		{"nothing", nil, 3, 0, 0},
	} {
		first, period := repeated(c.names, c.n)
		qt.Check(t, qt.Equals(period, c.period), qt.Commentf(c.name))
		if c.period > 0 {
			qt.Check(t, qt.Equals(first, c.first), qt.Commentf(c.name))
		}
	}
	qt.Check(t, qt.Equals(withoutNumber("triton_per_fused_fused_add_rms_norm_moe_forward_0"), "triton_per_fused_fused_add_rms_norm_moe_forward"))
	qt.Check(t, qt.Equals(withoutNumber("triton_poi_fused_12"), withoutNumber("triton_poi_fused_3")))
	qt.Check(t, qt.Equals(withoutNumber("nvjet_sm90_64"), "nvjet_sm90_64"))
}
