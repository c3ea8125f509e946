// Package vllm is vLLM's map: which functions to watch and which attributes to
// read, by name, for vLLM 0.10.2 to 0.33. It finds the engine in a process and
// resolves the names there; it knows neither CPython's offsets (package
// cpython) nor BPF (package probes).
package vllm
