package top

import (
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/charmbracelet/x/ansi"

	"github.com/pmtrace/pmtrace/output/live"
)

// duration has three digits that count.
func duration(ns float64) string {
	switch {
	case ns >= 100e9:
		return time.Duration(ns).Round(time.Second).String()
	case ns >= 1e9:
		return strconv.FormatFloat(ns/1e9, 'f', 2, 64) + " s"
	case ns >= 1e6:
		return strconv.FormatFloat(ns/1e6, 'f', 2, 64) + " ms"
	}
	return strconv.FormatFloat(ns/1e3, 'f', 1, 64) + " µs"
}

func seconds(ns int64) string {
	if d := time.Duration(ns); d >= 100*time.Second {
		return d.Round(time.Second).String()
	}
	return strconv.FormatFloat(float64(max(ns, 0))/1e9, 'f', 1, 64) + " s"
}

func percentile(p *live.Percentiles, ns float64) string {
	if p.Count == 0 {
		return "–"
	}
	return duration(ns)
}

func rate(x float64) string {
	if x >= 1000 {
		return strconv.FormatFloat(x, 'f', 0, 64)
	}
	return strconv.FormatFloat(x, 'f', 1, 64)
}

func knownRate(x *float64) string {
	if x == nil {
		return "–"
	}
	return rate(*x)
}

func count(n *int64) string {
	if n == nil {
		return "–"
	}
	return strconv.FormatInt(*n, 10)
}

func number(n *int32) string {
	if n == nil {
		return "–"
	}
	return strconv.Itoa(int(*n))
}

func known(ns *int64) string {
	if ns == nil {
		return "–"
	}
	return duration(float64(*ns))
}

// maxID is how much of a request's id is shown: its end is what the engine added.
const maxID = 32

// clean makes an id, which a client may have chosen, harmless for a terminal.
func clean(id string) string {
	id = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, id)
	return ansi.Truncate(id, maxID, "…")
}

// cut shortens lines to a width; 0: not.
func cut(text string, width int) string {
	if width <= 0 {
		return text
	}
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString(ansi.Truncate(strings.TrimSuffix(line, "\n"), width, "…") + "\n")
	}
	return b.String()
}
