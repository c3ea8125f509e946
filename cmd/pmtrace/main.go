// Command pmtrace watches running vLLM servers from outside and writes what
// their schedulers did, step by step, as Parquet and CSV.
package main

import (
	"context"
	"os"
	"runtime/debug"
)

func main() {
	// A tracer's memory matters more than the collector's share of its time.
	debug.SetGCPercent(50)
	os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Environ()))
}
