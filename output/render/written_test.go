package render

import (
	"fmt"
	"strings"
)

// written is a list of events in short: name begin+duration of slices, name time of
// instants, =value time of counters.
func written(list []event) string {
	var words []string
	for _, e := range list {
		at := e.TS - origin.MonoNS
		switch {
		case e.Value != nil:
			words = append(words, fmt.Sprintf("=%v %d", *e.Value, at))
		case e.Dur != nil:
			words = append(words, fmt.Sprintf("%s %d+%d", e.Name, at, *e.Dur))
		default:
			words = append(words, fmt.Sprintf("%s %d", e.Name, at))
		}
	}
	return strings.Join(words, ", ")
}
