// Command pmtrace watches running vLLM servers from outside and writes what
// their schedulers did, step by step, as Parquet and CSV.
package main

import (
	"context"
	"os"
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Environ()))
}
