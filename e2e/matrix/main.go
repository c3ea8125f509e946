package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	everyVLLM   = "0.10.2,0.12.0,0.15.1,0.17.1,0.19.1,0.22.1,0.25.1,0.28.0,0.30.0,0.32.0"
	everyPython = "3.10,3.11,3.12,3.13,3.14"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Stdout, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "matrix:", err)
		os.Exit(1)
	}
}

type options struct {
	vllm, python []string
	modes        string
	again, keep  bool
}

func run(ctx context.Context, stdout io.Writer, args []string) error {
	var o options
	flags := flag.NewFlagSet("matrix", flag.ContinueOnError)
	vllm := flags.String("vllm", everyVLLM, "versions of vLLM")
	python := flags.String("python", everyPython, "versions of CPython")
	flags.StringVar(&o.modes, "modes", "first", "run the modes in all cells, in each version's first, or in none")
	flags.BoolVar(&o.again, "again", false, "run what is done already")
	flags.BoolVar(&o.keep, "keep", false, "keep the environments, 6 GB each")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 || !slices.Contains([]string{"all", "first", "none"}, o.modes) {
		return errors.New("see matrix -help")
	}
	o.vllm, o.python = strings.Split(*vllm, ","), strings.Split(*python, ",")
	return runAll(ctx, stdout, o)
}

func runAll(ctx context.Context, stdout io.Writer, o options) error {
	at := filepath.Join("e2e", "matrix")
	all, err := readResults(filepath.Join(at, "results.json"))
	if err != nil {
		return err
	}
	failed := 0
	for _, v := range o.vllm {
		for _, p := range o.python {
			withModes := o.modes == "all" || o.modes == "first" && all.modesOf(v, p)
			old := all.find(v, p)
			if old != nil && !o.again && (old.HasModes || !withModes || old.Why != "") {
				fmt.Fprintf(stdout, "vLLM %s, CPython %s: done on %s\n", v, p, old.Date)
				continue
			}
			fmt.Fprintf(stdout, "vLLM %s, CPython %s\n", v, p)
			began := time.Now()
			c := runCell(ctx, v, p, withModes, o.keep)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			c.Date, c.TookS = began.UTC().Format("2006-01-02"), int(time.Since(began).Seconds())
			all.put(c)
			if err := all.write(at); err != nil {
				return err
			}
			fmt.Fprintf(stdout, "  %s\n", c.word())
			if !c.good() {
				failed++
			}
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d cells with mismatches or failures: e2e/matrix/RESULTS.md", failed)
	}
	return nil
}
