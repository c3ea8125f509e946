package join

import (
	"testing"

	"github.com/go-quicktest/qt"

	"github.com/pmtrace/pmtrace/decode/record"
)

type kernels struct {
	record.Discard
	classes []string
}

func (k *kernels) Kernel(r *record.KernelRow) error {
	class := "none"
	if r.Class != nil {
		class = *r.Class
	}
	k.classes = append(k.classes, class)
	return nil
}

func TestClassesOfKernels(t *testing.T) {
	sink := &kernels{}
	j := New(sink)
	bytes := int64(8)
	for _, r := range []record.KernelRow{
		{Name: "nvjet_sm90_tst_64x32_64x16_4x1_v_bz_TNT"},
		{Name: "_ZN4vllm3moe10topkGatingILi8ELi64ELi4ELi16ELi32Ei13__nv_bfloat16LNS0_11ScoringFuncE0EEEvPKT5_PKbPfiPT4_PiiiibPKfdS8_"},
		{Name: "nvjet_sm90_tst_64x32_64x16_4x1_v_bz_TNT"}, // kept
		{Name: "copy device_to_host", Bytes: &bytes},
		{Name: "mystery"},
		{},
	} {
		(&injected{j: j}).emitKernel(&r)
	}
	qt.Check(t, qt.DeepEquals(sink.classes, []string{"ffn/gemm", "moe", "ffn/gemm", "copy", "other", "none"}))
}
