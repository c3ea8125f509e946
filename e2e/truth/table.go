package main

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"text/tabwriter"
)

// firstOnes is how many differences of a check are shown.
const firstOnes = 5

// table is the result: a row a check.
type table struct {
	checks []*check
	prefix string // of the names of checks
}

// check is one thing that was compared.
type check struct {
	name      string
	want, got string
	differ    int
	first     []string
	skipped   string // why it could not be compared
}

func (t *table) add(name string, want, got any) *check {
	c := &check{name: t.prefix + name, want: word(want), got: word(got)}
	t.checks = append(t.checks, c)
	return c
}

// count begins a check of many single things: want is their number, got becomes
// the number of those that agree.
func (t *table) count(name string) *counted {
	return &counted{check: t.add(name, 0, 0)}
}

// same compares two numbers or words.
func (t *table) same(name string, want, got any) {
	if c := t.add(name, want, got); c.want != c.got {
		c.miss("want %s, got %s", c.want, c.got)
	}
}

// within compares a number with bounds, both included. Equal bounds are
// equality.
func (t *table) within(name string, low, high, got float64) {
	want := word(low)
	if low != high {
		want = word(low) + ".." + word(high)
	}
	if c := t.add(name, want, got); got < low || got > high {
		c.miss("want %s, got %s", c.want, c.got)
	}
}

// near compares sums of many measured times.
func (t *table) near(name string, want, got, relative float64) {
	c := t.add(name, fmt.Sprintf("%.3f", want), fmt.Sprintf("%.3f", got))
	if math.Abs(got-want) > relative*math.Abs(want)+1e-6 {
		c.miss("differs by %.3f %%", 100*math.Abs(got-want)/max(math.Abs(want), 1e-12))
	}
}

// skip says that something could not be compared.
func (t *table) skip(name, why string) {
	t.add(name, "", "").skipped = why
}

func (c *check) miss(format string, args ...any) {
	c.differ++
	if len(c.first) < firstOnes {
		c.first = append(c.first, fmt.Sprintf(format, args...))
	}
}

// counted is a check of many single things.
type counted struct {
	*check
	all, right int
}

// one compares one of them.
func (c *counted) one(ok bool, format string, args ...any) bool {
	c.all++
	if ok {
		c.right++
	} else {
		c.miss(format, args...)
	}
	c.want, c.got = strconv.Itoa(c.all), strconv.Itoa(c.right)
	return ok
}

func (t *table) mismatches() int {
	n := 0
	for _, c := range t.checks {
		n += c.differ
	}
	return n
}

func (t *table) print(w io.Writer) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "check\twant\tgot\tmismatches")
	failed := 0
	for _, c := range t.checks {
		if c.skipped != "" {
			fmt.Fprintf(tw, "%s\t-\t-\tnot compared: %s\n", c.name, c.skipped)
			continue
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%d\n", c.name, c.want, c.got, c.differ)
		if c.differ > 0 {
			failed++
		}
	}
	tw.Flush()
	for _, c := range t.checks {
		if c.differ == 0 {
			continue
		}
		fmt.Fprintf(w, "\n%s: %d\n", c.name, c.differ)
		for _, line := range c.first {
			fmt.Fprintln(w, "  "+line)
		}
		if more := c.differ - len(c.first); more > 0 {
			fmt.Fprintf(w, "  … and %d more\n", more)
		}
	}
	fmt.Fprintf(w, "%d checks, %d with mismatches, %d mismatches\n", len(t.checks), failed, t.mismatches())
}

func word(v any) string {
	if f, ok := v.(float64); ok {
		return strconv.FormatFloat(f, 'f', -1, 64)
	}
	return fmt.Sprint(v)
}
