package session

import (
	"testing"

	"github.com/go-quicktest/qt"

	"github.com/pmtrace/pmtrace/decode/record"
)

// TestKernelSummary: classes of all engines are added up, longest first; a bandwidth that is
// known worse than it is high is not shown, and an estimate is called one.
func TestKernelSummary(t *testing.T) {
	var k KernelSummary
	qt.Assert(t, qt.HasLen(k.lines(), 0))
	some := func(v float64) *float64 { return &v }
	text := func(s string) *string { return &s }
	row := func(class string, ns int64, method *string, read, err, share *float64) {
		write := read
		if read != nil {
			write = some(0)
		}
		k.add(&record.KernelClassRow{Class: class, Kernels: 10, DurNS: ns, Method: method, DRAMReadBps: read, DRAMWriteBps: write, DRAMErrorBps: err, BandwidthShare: share})
	}
	row("ffn/gemm", 600e6, text("folded"), some(2e12), nil, some(.6))
	row("ffn/gemm", 200e6, text("regression"), some(1e12), some(1e11), some(.3))
	row("attention", 100e6, text("folded"), some(5e11), nil, nil)
	row("moe", 90e6, text("regression"), some(1e11), some(2e11), some(.03))
	row("copy", 1e6, nil, nil, nil, nil)
	for i, name := range []string{"_ZN4vllm18act_and_mul_kernelIN3c108BFloat16EEvPT_", "nvjet_sm90_tst_128x32_64x10_2x1_v_bz_TNT", "c", "d", "e", "f"} {
		k.add(&record.KernelClassRow{Class: "x", Name: &name, DurNS: int64(600-100*i) * 1e6})
	}
	qt.Assert(t, qt.DeepEquals(k.lines(), []string{
		"ffn/gemm 80.7% (about 1750 GB/s, 52% of peak), attention 10.1% (500 GB/s), moe 9.1%; of 991.00 ms in windows",
		"longest: vllm::act_and_mul_kernel 60.5%, nvjet_sm90_tst_128x32_64x10_2x1_v_bz_TNT 50.5%, c 40.4%, d 30.3%, e 20.2%",
	}))
}
