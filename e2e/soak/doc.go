// Soak is the test of endurance:
//
//	soak [-only simulated|real] [-hours 72] [-step 100ms] [-minutes 60] [-vllm 0.32.0]
//
// Days of simulated time go through the whole pipeline (TestSoak of decode): journal, decoding,
// joining, tables. Then a real server is traced under load for an hour (TestSoak of e2e), and
// compared with its own word. Of both: memory flat, no drift between clocks, files rotate, nothing
// lost, the totals equal. results.json is kept beside, RESULTS.md is it to read.
package main
