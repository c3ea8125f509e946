package kernel

import (
	"bufio"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-quicktest/qt"
)

// realName is a line of testdata/names.tsv: a kernel's name, from the symbols of
// vLLM's wheel and of PyTorch, from the Triton sources in the wheel, or as a
// published profile shows it (some of those are cut off in the profile, too),
// and what it is.
type realName struct {
	class   Class
	library Library
	source  string
	name    string
}

func realNames(t testing.TB) (names []realName) {
	t.Helper()
	for line := range lines(t, "testdata/names.tsv") {
		f := strings.Split(line, "\t")
		qt.Assert(t, qt.HasLen(f, 4), qt.Commentf("%s", line))
		names = append(names, realName{Class(f[0]), Library(f[1]), f[2], f[3]})
	}
	return names
}

// recorded is a line of testdata/h100_*.txt: a kernel as CUPTI recorded it for a
// second with kernels inside graphs and a second without, of vLLM 0.33.0 on an
// H100 with the V2 runner and random weights.
type recorded struct {
	count, inGraph int64
	// total is the sum of the durations. Single records of the first second are
	// wrong by milliseconds, some of them negative: those of the replay that ran
	// as kernels were switched on. longest holds such a one, where there is any.
	total, longest int64
	name           string
}

func recordings(t testing.TB) map[string][]recorded {
	t.Helper()
	files, err := filepath.Glob("testdata/h100_*.txt")
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.HasLen(files, 3))
	models := map[string][]recorded{}
	for _, file := range files {
		for line := range lines(t, file) {
			f := strings.SplitN(line, " ", 6)
			var n [5]int64
			for i := range n {
				u, err := strconv.ParseUint(f[i], 10, 64)
				qt.Assert(t, qt.IsNil(err))
				n[i] = int64(u)
			}
			models[file] = append(models[file], recorded{n[0], n[1], n[2], n[4], f[5]})
		}
	}
	return models
}

func lines(t testing.TB, file string) func(yield func(string) bool) {
	t.Helper()
	b, err := os.ReadFile(file)
	qt.Assert(t, qt.IsNil(err))
	return func(yield func(string) bool) {
		s := bufio.NewScanner(strings.NewReader(string(b)))
		s.Buffer(nil, 1<<20)
		for s.Scan() && yield(s.Text()) {
		}
	}
}

func TestRealNames(t *testing.T) {
	for _, n := range realNames(t) {
		k := Classify(n.name)
		qt.Check(t, qt.Equals(k.Class, n.class), qt.Commentf("%s", n.name))
		qt.Check(t, qt.Equals(k.Library, n.library), qt.Commentf("%s", n.name))
	}
}

// Each word of each rule decides about a real name.
func TestRulesHaveRealNames(t *testing.T) {
	type place struct{ rule, word int }
	var names []string
	for _, n := range realNames(t) {
		names = append(names, n.name)
	}
	for _, ks := range recordings(t) {
		for _, k := range ks {
			names = append(names, k.name)
		}
	}
	reached := map[place]bool{}
	for _, name := range names {
		function, rest := split(name)
		if _, _, ok := inductor(function); ok {
			continue
		}
		function = strings.ToLower(function)
		for i := range rules {
			if !rules[i].holds(function, all, rest) {
				continue
			}
			for j := range rules[i].function {
				if anyIn(function, all, rules[i].function[j:j+1]) {
					reached[place{i, j}] = true
				}
			}
			break
		}
	}
	for i, r := range rules {
		qt.Check(t, qt.Not(qt.HasLen(r.function, 0)), qt.Commentf("rule %d", i))
		for j, w := range r.function {
			qt.Check(t, qt.IsTrue(reached[place{i, j}]), qt.Commentf("rule %d (%s): %q", i, r.class, w.text))
			qt.Check(t, qt.Equals(strings.ToLower(w.text), w.text))
		}
	}
}

// The classes cover a server's GPU time: other is at most 1 % of it, with the
// records that are wrong and without.
func TestCoverage(t *testing.T) {
	for file, kernels := range recordings(t) {
		var time, sane int64
		classes, saneClasses := map[Class]int64{}, map[Class]int64{}
		for _, k := range kernels {
			class := Classify(k.name).Class
			time += k.total
			classes[class] += k.total
			if k.count > 1 {
				if mean := (k.total - k.longest) / (k.count - 1); k.longest < 0 || k.longest > 100*mean {
					k.total -= k.longest
				}
			}
			sane += k.total
			saneClasses[class] += k.total
		}
		for _, c := range []Class{Attention, GEMM, MoE, Norm, Sampling, Collective, Copy, Other} {
			t.Logf("%s: %-15s %6.2f %% (as recorded %6.2f %%)", file, c, share(saneClasses[c], sane), share(classes[c], time))
		}
		qt.Check(t, qt.IsTrue(share(classes[Other], time) <= 1), qt.Commentf("%s", file))
		qt.Check(t, qt.IsTrue(share(saneClasses[Other], sane) <= 1), qt.Commentf("%s", file))
		qt.Check(t, qt.Equals(saneClasses[MoE] > 0, strings.Contains(file, "moe")))
		qt.Check(t, qt.IsTrue(saneClasses[Attention] > 0 && saneClasses[GEMM] > 0 && saneClasses[Sampling] > 0))
	}
}

func share(part, whole int64) float64 { return 100 * float64(part) / float64(whole) }

func TestFunction(t *testing.T) {
	for name, want := range map[string]string{
		"_gumbel_sample_kernel": "_gumbel_sample_kernel",
		"_ZN4vllm3moe27moe_align_block_size_kernelIiEEvPKT_PiS5_S5_S5_iiiimS5_iib":                     "vllm::moe::moe_align_block_size_kernel",
		"_ZN50_GLOBAL__N__fa15d16e_17_RangeFactories_cu_38772b0829elementwise_kernel_with_indexIiEEvi": "elementwise_kernel_with_index",
		"_Z21expandInputRowsKernelIfLb0EEvPKT_PS0_":                                                    "expandInputRowsKernel",
		"_ZL6kernelPf":        "kernel",
		"_ZSt4swapIiEvRT_S1_": "std::swap",
		"void cub::CUB_200802_SM_610::DeviceRadixSortOnesweepKernel<cub::P<int>, false>(int*)":                  "cub::CUB_200802_SM_610::DeviceRadixSortOnesweepKernel",
		"std::enable_if<!(false), void>::type internal::gemvx::kernel<int, f<(int)3>>(cublasGemvParamsEx<int>)": "internal::gemvx::kernel",
		"void at::native::(anonymous namespace)::vectorized_layer_norm_kernel<float>(int)":                      "at::native::vectorized_layer_norm_kernel",
		"void (anonymous namespace)::multimem_all_reduce_kernel<c10::BFloat16, 16>(c10::BFloat16*)":             "multimem_all_reduce_kernel",
		"void a::b<int>::kernel<float>(int)":                                                        "a::b::kernel",
		"ncclDevKernel_SendRecv(ncclDevKernelArgsStorage<(unsigned long)4096>)":                     "ncclDevKernel_SendRecv",
		"kernel_cutlass_kernel___main__GroupedGemmKernel_object_at__TiledMMA_ThrLayoutVMNK11110000": "kernel_cutlass_kernel___main__GroupedGemmKernel",
		"kernel(int) [clone .isra.0]":                                                               "kernel",
		"":                                                                                          "",
		"_Z":                                                                                        "",
		"_ZN":                                                                                       "",
		"_ZN99999x":                                                                                 "",
		"void f<":                                                                                   "f",
		"<":                                                                                         "",
	} {
		qt.Check(t, qt.Equals(Classify(name).Function, want), qt.Commentf("%s", name))
	}
}

func TestFused(t *testing.T) {
	for name, want := range map[string]struct {
		class Class
		fused string
	}{
		"triton_red_fused_fused_add_rms_norm_0":                  {Norm, "fused_add_rms_norm"},
		"triton_poi_fused_mul_silu_slice_1":                      {Norm, "mul silu slice"},
		"triton_red_fused__to_copy_embedding_rms_norm_0":         {Norm, "_to_copy embedding rms_norm"},
		"triton_per_fused_fused_add_rms_norm_moe_forward_0":      {Norm, "fused_add_rms_norm moe_forward"},
		"triton_red_fused__to_copy_mul_sub_sum_11":               {Norm, "_to_copy mul sub sum"},
		"triton_poi_fused_3":                                     {Norm, ""},
		"triton_per_fused__softmax_div_topk_2":                   {Sampling, "_softmax div topk"},
		"triton_poi_fused_cat_slice_view_4":                      {Copy, "cat slice view"},
		"triton_poi_fused_embedding_0":                           {Copy, "embedding"},
		"triton_tem_fused_mm_5":                                  {GEMM, "mm"},
		"triton_tem_fused_flex_attention_0":                      {Attention, "flex_attention"},
		"triton_red_fused_mm_7":                                  {GEMM, "mm"},
		"triton_poi_fused_my_own_op_silu_1":                      {Norm, "my_own_op silu"},
		"triton_poi_fused__own_0":                                {Norm, "_own"},
		"triton_poi_fused_unified_attention_with_output_view_12": {Copy, "unified_attention_with_output view"},
	} {
		k := Classify(name)
		qt.Check(t, qt.Equals(k.Library, Inductor), qt.Commentf("%s", name))
		qt.Check(t, qt.Equals(k.Class, want.class), qt.Commentf("%s", name))
		qt.Check(t, qt.Equals(strings.Join(k.Fused, " "), want.fused), qt.Commentf("%s", name))
	}
	for _, name := range []string{"triton_w4a16_gemm_kernel", "triton_", "triton_poi", "triton_poi_fusedness", "_triton_mrope_forward"} {
		qt.Check(t, qt.Not(qt.Equals(Classify(name).Library, Inductor)), qt.Commentf("%s", name))
	}
}

func FuzzClassify(f *testing.F) {
	for _, n := range realNames(f)[:40] {
		f.Add(n.name)
	}
	f.Add("_ZN1aSt_Z3")
	f.Add("triton_poi_fused____1")
	f.Add("a<(b>c::(anonymous namespace)")
	f.Fuzz(func(t *testing.T, name string) {
		k := Classify(name)
		if k.Class == "" || k.Library == "" {
			t.Fatalf("%q: %+v", name, k)
		}
		if len(k.Function) > len(name)+len("::")*len(name) {
			t.Fatalf("%q: a function of %d bytes", name, len(k.Function))
		}
	})
}

func BenchmarkClassify(b *testing.B) {
	var names []string
	for _, n := range realNames(b) {
		names = append(names, n.name)
	}
	for _, ks := range recordings(b) {
		for _, k := range ks {
			names = append(names, k.name)
		}
	}
	longest := time.Duration(0)
	for _, name := range names {
		begin := time.Now()
		for range 20 {
			Classify(name)
		}
		longest = max(longest, time.Since(begin)/20)
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		Classify(names[i%len(names)])
		i++
	}
	b.ReportMetric(float64(longest.Nanoseconds()), "ns-longest")
}
