// Matrix runs pmtrace against real servers of many versions of vLLM on many
// CPythons, and keeps what came of it:
//
//	matrix [-vllm 0.12.0,…] [-python 3.10,…] [-modes all|first|none] [-only NAME] [-again] [-keep] [-limit N]
//
// A cell is a version on a CPython. Its environment is made by e2e/setup/vllm.sh,
// used, and removed (-keep: it stays). Its parts are tests of e2e, which trace servers under
// load and compare with their own word; the modes are run in a version's first CPython
// (-modes first), so once for each version. A part that is in results.json already is not
// run again (-again: it is), so that a matrix that was ended goes on where it was; -limit ends
// it after so many parts. RESULTS.md is results.json to read.
package main
