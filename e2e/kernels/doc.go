// Command kernels tells what pmtrace does on which kernel, by what run.sh left in a
// directory for each: it writes results.json, RESULTS.md, and the verifier's own log of
// the oldest kernel that loads the programs.
//
//	kernels [-from build/kernels] [-to e2e/kernels]
//
// It ends with 1 where something was tried and failed.
package main
