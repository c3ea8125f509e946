// Package probes watches a server from outside: an engine's thread by hardware
// breakpoints (Attach), the CUDA calls of its processes by uprobes
// (AttachWorker). It tells the BPF programs what to read, drains the ring buffer
// and counts what was lost. What a record means it does not know.
package probes
