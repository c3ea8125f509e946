package kernel

// Class is what a kernel works for.
type Class string

// The classes. Everything that a step does to a sequence's tokens before the
// projections and after them has one, so that their times add up to the step's.
const (
	Attention  Class = "attention"       // attention of any kind, state space and linear too, its KV cache, its choice of tokens
	GEMM       Class = "ffn/gemm"        // projections, dense feed-forward, LoRA, weights unpacked for them
	MoE        Class = "moe"             // routing, sorting by expert, experts, summing up
	Norm       Class = "norm/activation" // norms, activations, rotary embedding, quantisation, residuals, what was fused of them
	Sampling   Class = "sampling"        // from logits to tokens, drafts and their acceptance
	Collective Class = "collective"      // between GPUs
	Copy       Class = "copy"            // data moved, filled or looked up, a step's inputs put in place
	Other      Class = "other"           // not known
)

// Library is where a kernel comes from.
type Library string

// The libraries. VLLM is vLLM's own CUDA code, with what it took over (Marlin,
// Machete, AWQ, GPTQ); Triton is any kernel that has the plain name of a Python
// function, Inductor one that torch.compile generated.
const (
	FA2         Library = "fa2"
	FA3         Library = "fa3"
	FA4         Library = "fa4"
	FlashMLA    Library = "flashmla"
	FlashInfer  Library = "flashinfer"
	TensorRTLLM Library = "tensorrt_llm"
	Triton      Library = "triton"
	Inductor    Library = "inductor"
	CUTLASS     Library = "cutlass"
	CuBLAS      Library = "cublas"
	CuDNN       Library = "cudnn"
	DeepGEMM    Library = "deepgemm"
	DeepEP      Library = "deepep"
	VLLM        Library = "vllm"
	ATen        Library = "aten"
	CUB         Library = "cub"
	NCCL        Library = "nccl"
	Unknown     Library = "unknown"
)

// Kernel is what a kernel's name says.
type Kernel struct {
	// Function is the qualified name without return type, template arguments
	// and parameters, for people to read.
	Function string
	Class    Class
	Library  Library
	// Fused are the operations that torch.compile fused into it, sorted; one
	// that it did not name is not among them.
	Fused []string
}
