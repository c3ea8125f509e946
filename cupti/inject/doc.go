// Package inject carries libpmtrace_cupti.so, which CUDA loads into a recorded server
// (CUDA_INJECTION64_PATH), and puts it where the server can read it. What it writes
// package cupti reads; its C sources are in c/, and c/ring.h says how both speak.
package inject

// The library is committed as built, so that a build of pmtrace needs no C compiler; a
// test compares the hash of its sources with the one in it.
//
//go:generate ./build.sh
