// Matrix runs pmtrace against real servers of many versions of vLLM on many
// CPythons, and keeps what came of it:
//
//	matrix [-vllm 0.12.0,…] [-python 3.10,…] [-modes all|first|none] [-again] [-keep]
//
// A cell is a version on a CPython. Its environment is made by e2e/setup/vllm.sh,
// used, and removed (-keep: it stays). Then servers are traced under load and compared with
// their own word by the tests of e2e; with the modes too for a version's first CPython
// (-modes first), so that each version's are run once. What is in results.json already is not
// run again (-again: it is), so that a matrix that was ended goes on where it was. RESULTS.md
// is results.json to read.
package main
