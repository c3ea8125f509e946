package main

import (
	"bufio"
	"fmt"
	"io"
	"regexp"
	"strconv"
)

// iteration is a line of the server's iteration log.
type iteration struct {
	engine      int32
	number      int64
	ctxRequests int32
	ctxTokens   int32
	genRequests int32
	genTokens   int32
	usagePct    float64 // as printed, one decimal
	hasUsage    bool    // 0.26 and later, where the frontend logs it
}

// iterationLine matches the line of v1/engine/core.py (0.14 to 0.25) and of
// v1/metrics/loggers.py (later).
func iterationLine() *regexp.Regexp {
	return regexp.MustCompile(`(?:(?:EngineCore_DP|Engine )(\d+)\b.*)?Iteration\((\d+)\): (\d+) context requests, (\d+) context tokens, ` +
		`(\d+) generation requests, (\d+) generation tokens, iteration elapsed time: [0-9.]+ ms` +
		`( \(dummy\))?(?:, .*?KV cache usage: ([0-9.]+)%)?`)
}

// readLog returns the iterations that are logged after the first from bytes.
// Dummy iterations of data-parallel engines are left out.
func readLog(r io.Reader, from int64) ([]iteration, error) {
	if n, err := io.CopyN(io.Discard, r, from); err != nil {
		return nil, fmt.Errorf("has %d bytes only: %w", n, err)
	}
	line := iterationLine()
	var list []iteration
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		m := line.FindSubmatch(lines.Bytes())
		if m == nil || len(m[7]) > 0 {
			continue
		}
		it, err := parseIteration(m)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", lines.Text(), err)
		}
		list = append(list, it)
	}
	return list, lines.Err()
}

func parseIteration(m [][]byte) (iteration, error) {
	var n [6]int64
	for i := range n {
		if i == 0 && len(m[1]) == 0 {
			continue // one engine, before 0.26
		}
		v, err := strconv.ParseInt(string(m[1+i]), 10, 32)
		if err != nil {
			return iteration{}, err
		}
		n[i] = v
	}
	it := iteration{
		engine: int32(n[0]), number: n[1],
		ctxRequests: int32(n[2]), ctxTokens: int32(n[3]), genRequests: int32(n[4]), genTokens: int32(n[5]),
	}
	if len(m[8]) > 0 {
		usage, err := strconv.ParseFloat(string(m[8]), 64)
		if err != nil {
			return iteration{}, err
		}
		it.usagePct, it.hasUsage = usage, true
	}
	return it, nil
}

func (it *iteration) requests() int32 { return it.ctxRequests + it.genRequests }
func (it *iteration) tokens() int32   { return it.ctxTokens + it.genTokens }
