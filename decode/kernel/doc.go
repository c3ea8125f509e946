// Package kernel says what a GPU kernel does by its name: the class of work and
// the library that it comes from. It takes names as CUPTI gives them (mangled)
// and as profilers show them (demangled), of C++ kernels, of Triton and of the
// generated kernels of torch.compile, whose names say what was fused in them.
//
// A name is all that it sees. What no name tells stays where the name puts it:
// the GEMM of a router is a GEMM, the activation of an expert an activation.
// It keeps nothing: whoever sees the same names again and again keeps the answers.
package kernel
