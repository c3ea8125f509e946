package findings

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/pmtrace/pmtrace/output/session"
)

// Finding is something that slows the server down, or that could be otherwise.
type Finding struct {
	Name  string `json:"name"` // of the rule
	Title string `json:"title"`
	// Cost is the share of the time of all requests (arrival to end) that it takes; null:
	// not known, or it costs none.
	Cost     *float64 `json:"cost"`
	Evidence []string `json:"evidence"`
	Change   string   `json:"change"`
}

// Rules are the names of what is looked for.
func Rules() []string {
	var names []string
	for _, r := range rules {
		names = append(names, r.name)
	}
	return names
}

// Search looks for findings in the rows of a session as they pass by.
type Search struct{ figures *figures }

// NewSearch is one that has seen no rows yet.
func NewSearch(facts *session.Facts) *Search { return &Search{newFigures(facts)} }

// Visitor sees the rows that findings rest on.
func (s *Search) Visitor() session.Visitor { return s.figures.visitor() }

// Findings are what was found once the pass is over, what costs most first.
func (s *Search) Findings() []Finding {
	out := []Finding{}
	for _, r := range rules {
		if found := r.find(s.figures); found != nil {
			found.Name = r.name
			out = append(out, *found)
		}
	}
	slices.SortStableFunc(out, func(a, b Finding) int { return cmp.Compare(b.weight(), a.weight()) })
	return out
}

func (f *Finding) weight() float64 {
	switch {
	case f.Name == eventsLost: // what follows rests on it
		return 2
	case f.Cost == nil:
		return 0
	}
	return *f.Cost
}

// lineWidth is of a terminal.
const lineWidth = 96

// WriteText writes findings for a person.
func WriteText(w io.Writer, list []Finding) error {
	if len(list) == 0 {
		_, err := fmt.Fprint(w, "\nFindings     none\n")
		return err
	}
	var b strings.Builder
	b.WriteString("\nFindings     the costliest first; of the time of all requests\n")
	for i, f := range list {
		cost := "    –"
		if f.Cost != nil {
			cost = fmt.Sprintf("%4.1f%%", 100**f.Cost)
		}
		fmt.Fprintf(&b, "\n%2d %s  %s\n", i+1, cost, f.Title)
		for _, e := range f.Evidence {
			wrap(&b, "          ", e)
		}
		wrap(&b, "        → ", f.Change)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// wrap writes a text in lines, indented.
func wrap(b *strings.Builder, first, text string) {
	indent := strings.Repeat(" ", len([]rune(first)))
	line := first
	for i, word := range strings.Fields(text) {
		if i > 0 && len([]rune(line))+1+len([]rune(word)) > lineWidth {
			b.WriteString(line + "\n")
			line = indent
		} else if i > 0 {
			line += " "
		}
		line += word
	}
	b.WriteString(line + "\n")
}
