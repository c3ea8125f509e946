package model

// GPU is what a GPU can do at most.
type GPU struct {
	Name      string  // as NVML says it
	Bandwidth float64 // of its memory, bytes a second
	// FLOPS of dense matrix products, with FP32 accumulation, by type. INT8 are
	// operations. No entry: its tensor cores do not have the type, or NVIDIA
	// publishes no figure.
	FLOPS  map[DType]float64
	Source string
}

// FindGPU looks a GPU up by the name that NVML gives it. One that is not in the
// table is not known, however similar its name.
func FindGPU(name string) (*GPU, bool) {
	for i := range gpus {
		if gpus[i].Name == name {
			return &gpus[i], true
		}
	}
	return nil, false
}

// Peak is what it can do in a type, or where it lacks it, in the type to which
// kernels then unpack it.
func (g *GPU) Peak(d DType) (flops float64, of DType, ok bool) {
	for ; d != ""; d = wider[d] {
		if f := g.FLOPS[d]; f > 0 {
			return f, d, true
		}
	}
	return 0, "", false
}

var wider = map[DType]DType{FP4: FP8, FP8: BF16, INT8: BF16, BF16: ""}

// MBU is the share of the memory's bandwidth that a step of so many seconds used
// at least.
func (w *Work) MBU(g *GPU, seconds float64) (float64, bool) {
	if g == nil || g.Bandwidth <= 0 || !(seconds > 0) {
		return 0, false
	}
	return w.Bytes() / seconds / g.Bandwidth, true
}

// MFU is the share of its arithmetic, by the peak of the type that the products
// have.
func (w *Work) MFU(g *GPU, seconds float64) (float64, bool) {
	if g == nil || !(seconds > 0) {
		return 0, false
	}
	peak, _, ok := g.Peak(w.Products)
	if !ok {
		return 0, false
	}
	return w.FLOPs / seconds / peak, true
}

const (
	tera = 1e12
	giga = 1e9
)

func tensor(half, eight, four float64) map[DType]float64 {
	m := map[DType]float64{BF16: half * tera, FP16: half * tera}
	if eight > 0 {
		m[FP8], m[INT8] = eight*tera, eight*tera
	}
	if four > 0 {
		m[FP4] = four * tera
	}
	return m
}

func ampere(half, int8 float64) map[DType]float64 {
	return map[DType]float64{BF16: half * tera, FP16: half * tera, INT8: int8 * tera}
}

// Datasheets give products with 2:4 sparsity; these are half of that.
var gpus = []GPU{
	{"NVIDIA H100 80GB HBM3", 3.35 * tera, tensor(989.4, 1978.9, 0), "NVIDIA H100 datasheet, SXM; architecture whitepaper, table 3"},
	{"NVIDIA H100 PCIe", 2.0 * tera, tensor(756, 1513, 0), "NVIDIA H100 datasheet of 2022, PCIe"},
	{"NVIDIA H100 NVL", 3.9 * tera, tensor(835.5, 1670.5, 0), "NVIDIA H100 datasheet, NVL: one of the two"},
	{"NVIDIA H200", 4.8 * tera, tensor(989.4, 1978.9, 0), "NVIDIA H200 datasheet, SXM"},
	{"NVIDIA H200 NVL", 4.8 * tera, tensor(835.5, 1670.5, 0), "NVIDIA H200 datasheet, NVL"},
	{"NVIDIA A100-SXM4-40GB", 1555 * giga, ampere(312, 624), "NVIDIA A100 datasheet"},
	{"NVIDIA A100-SXM4-80GB", 2039 * giga, ampere(312, 624), "NVIDIA A100 datasheet"},
	{"NVIDIA A100-PCIE-40GB", 1555 * giga, ampere(312, 624), "NVIDIA A100 datasheet"},
	{"NVIDIA A100 80GB PCIe", 1935 * giga, ampere(312, 624), "NVIDIA A100 datasheet"},
	{"NVIDIA L40S", 864 * giga, tensor(362.05, 733, 0), "NVIDIA L40S datasheet"},
	{"NVIDIA L4", 300 * giga, tensor(121, 242.5, 0), "NVIDIA L4 datasheet"},
	{"NVIDIA A10", 600 * giga, ampere(125, 250), "NVIDIA A10 datasheet"},
	{"Tesla T4", 320 * giga, map[DType]float64{FP16: 65 * tera, INT8: 130 * tera}, "NVIDIA T4 datasheet: no bfloat16, no sparsity"},
	{"NVIDIA B200", 8.0 * tera, tensor(2250, 4500, 9000), "NVIDIA DGX B200 datasheet, an eighth"},
	{"NVIDIA GB200", 8.0 * tera, tensor(2500, 5000, 10000), "NVIDIA GB200 NVL72 datasheet, a 72nd"},
	{"NVIDIA GeForce RTX 4090", 1008 * giga, map[DType]float64{BF16: 165.2 * tera, FP16: 165.2 * tera, FP8: 330.3 * tera, INT8: 660.6 * tera}, "NVIDIA Ada GPU architecture whitepaper, appendix A"},
	{"NVIDIA GeForce RTX 5090", 1792 * giga, map[DType]float64{BF16: 209.5 * tera, FP16: 209.5 * tera, FP8: 419 * tera, INT8: 838 * tera, FP4: 1676 * tera}, "NVIDIA RTX Blackwell GPU architecture whitepaper, appendix A"},
}
