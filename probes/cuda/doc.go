// Package cuda finds the CUDA libraries that a process has mapped, and others by
// name, says which of several copies its calls go to, and where their functions
// are. It knows nothing of BPF.
package cuda
