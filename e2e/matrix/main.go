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
	modes, only  string
	again, keep  bool
	limit        int
}

func run(ctx context.Context, stdout io.Writer, args []string) error {
	var o options
	flags := flag.NewFlagSet("matrix", flag.ContinueOnError)
	vllm := flags.String("vllm", everyVLLM, "versions of vLLM")
	python := flags.String("python", everyPython, "versions of CPython")
	flags.StringVar(&o.modes, "modes", "first", "run the modes in all cells, in each version's first, or in none")
	flags.StringVar(&o.only, "only", "", "run only parts with this in their `name`")
	flags.BoolVar(&o.again, "again", false, "run what is done already")
	flags.BoolVar(&o.keep, "keep", false, "keep the environments, 6 GB each")
	flags.IntVar(&o.limit, "limit", 0, "end after so many parts of cells (0: none)")
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
	m := matrix{options: o, at: filepath.Join("e2e", "matrix"), stdout: stdout, left: o.limit}
	if o.limit == 0 {
		m.left = -1
	}
	var err error
	if m.all, err = readResults(m.at); err != nil {
		return err
	}
	failed := 0
	for _, v := range o.vllm {
		for _, p := range o.python {
			c, err := m.cell(ctx, v, p)
			if err != nil || m.left == 0 {
				return err
			}
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

// matrix is what is under way.
type matrix struct {
	options
	at     string // where the results are
	all    *results
	stdout io.Writer
	left   int // parts that may be run; -1: all
}

// wanted says whether a part is one to run in a cell.
func (m *matrix) wanted(c *cell, p part) bool {
	mode := m.modes == "all" || m.modes == "first" && m.all.modesOf(c.VLLM, c.Python)
	return strings.Contains(p.prefix, m.only) && (p.selection != "modes" || mode)
}

// cell runs what is left to run of one.
func (m *matrix) cell(ctx context.Context, vllm, python string) (*cell, error) {
	c := &cell{VLLM: vllm, Python: python}
	if old := m.all.find(vllm, python); old != nil {
		*c = *old
	}
	todo := slices.DeleteFunc(parts(), func(p part) bool {
		return !m.wanted(c, p) || c.has(p) && !m.again
	})
	if m.again {
		c.forget(todo)
	}
	if len(todo) == 0 || c.Why != "" {
		fmt.Fprintf(m.stdout, "vLLM %s, CPython %s: done on %s: %s\n", vllm, python, c.Date, c.word())
		return c, nil
	}
	fmt.Fprintf(m.stdout, "vLLM %s, CPython %s\n", vllm, python)
	env := c.prepare(ctx)
	if env != "" && !m.keep {
		defer os.RemoveAll(env)
	}
	for _, p := range todo {
		if c.Why == "" && m.left != 0 {
			m.left--
			c.test(ctx, p)
		}
		if ctx.Err() != nil {
			return c, ctx.Err()
		}
		c.Date = time.Now().UTC().Format("2006-01-02")
		var err error
		if m.all, err = keep(m.at, *c); err != nil {
			return c, err
		}
	}
	fmt.Fprintf(m.stdout, "  %s\n", c.word())
	return c, nil
}
