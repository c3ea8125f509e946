// Command bench measures what tracing costs, and writes results.json and
// RESULTS.md. It needs root, ./pmtrace and what `make bench` sets up.
//
//	bench [-quick] [-only SECTION,…] [-vllm VERSION] [-out DIR]
//	bench -comparison [-quick] [-torch] [-only tools|record|own] [-beside TEXT] [-out DIR]
//
// Sections, each against a program of vLLM's shape (e2e/shape) or a real server
// with a tiny model:
//
//	step    time in BPF a step, by the kernel's own statistics
//	tracer  processor time, memory and bytes of pmtrace attach at 200 steps/s
//	long    memory over an hour's worth of events, at full speed
//	decode  rate of decoding that session again
//	attach  time from starting pmtrace to armed watches
//	server  throughput of a real server with and without, in pairs
//	worst   steps/s of the shape program at full speed with and without, in pairs
//
// With -comparison it measures instead what pmtrace and other tools cost a real
// server, all of them in turn on one and the same (tools), what one costs that pmtrace
// record has started (record), and pmtrace's own speed and size (own), and writes comparison.json and COMPARISON.md.
//
// Nothing here fails because a figure is bad: each is reported beside its target.
package main
