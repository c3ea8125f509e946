package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

func main() {
	from := flag.String("from", "build/kernels", "what run.sh left")
	to := flag.String("to", "e2e/kernels", "where results go")
	flag.Parse()
	bad, err := run(*from, *to)
	if err != nil {
		fmt.Fprintln(os.Stderr, "kernels:", err)
		os.Exit(1)
	}
	for _, b := range bad {
		fmt.Fprintln(os.Stderr, "kernels:", b)
	}
	if len(bad) > 0 {
		os.Exit(1)
	}
}

func run(from, to string) (bad []string, err error) {
	runs, err := filepath.Glob(filepath.Join(from, "*", "key")) // written at the end
	if err != nil {
		return nil, err
	}
	var kernels []*Kernel
	for _, name := range runs {
		k, err := readKernel(filepath.Dir(name))
		if err != nil {
			return nil, err
		}
		kernels = append(kernels, k)
	}
	if len(kernels) == 0 {
		return nil, fmt.Errorf("%s has no kernel that was tried", from)
	}
	slices.SortFunc(kernels, compareReleases)
	for _, k := range kernels {
		bad = append(bad, k.failures()...)
	}
	b, err := json.MarshalIndent(kernels, "", "\t")
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(to, "results.json"), append(b, '\n'), 0o644); err != nil {
		return nil, err
	}
	if err := writeVerifierLog(from, to, kernels); err != nil {
		return nil, err
	}
	return bad, os.WriteFile(filepath.Join(to, "RESULTS.md"), report(kernels), 0o644)
}
