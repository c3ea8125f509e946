package session

import (
	"cmp"
	"fmt"
	"io"
	"slices"

	"github.com/pmtrace/pmtrace/decode/record"
)

// HookSummary describes the calls of a function that the user named, of all processes.
type HookSummary struct {
	Name     string
	Calls    uint64 // by the kernel's counter
	NotTold  uint64 // of them: no rows
	NoValues uint64 // captured values that are null
	Ended    string // why it was taken off; "": it was not
	Told     int64  // rows
	Raised   int64
	Duration Stat
}

func (s *Summary) hook(r *record.HookRow) {
	h := s.hookNamed(r.Hook)
	h.Told++
	addKnown(&h.Duration, r.DurNS)
	if r.Outcome != nil && *r.Outcome == record.HookRaised {
		h.Raised++
	}
}

func (s *Summary) hookNamed(name string) *HookSummary {
	i := slices.IndexFunc(s.Hooks, func(h *HookSummary) bool { return h.Name == name })
	if i < 0 {
		i = len(s.Hooks)
		s.Hooks = append(s.Hooks, &HookSummary{Name: name})
	}
	return s.Hooks[i]
}

// finishHooks adds what was counted. Where the journal ends early the newest counter may
// be behind the rows.
func (s *Summary) finishHooks() {
	counted := map[string]uint64{}
	for _, f := range s.Facts.Hooks {
		h := s.hookNamed(f.Name)
		if f.Ended != "" {
			h.Ended = f.Ended
		}
		for _, c := range s.Facts.HookCounts {
			if c.Hook == f.Hook {
				counted[f.Name] += c.Calls
				h.NotTold += c.NotTold
				h.NoValues += c.NoValues
			}
		}
	}
	for _, h := range s.Hooks {
		h.Calls = max(counted[h.Name], uint64(h.Told))
	}
	slices.SortStableFunc(s.Hooks, func(a, b *HookSummary) int { return cmp.Compare(b.Calls, a.Calls) })
}

func (s *Summary) hooks(w io.Writer) {
	if len(s.Hooks) == 0 {
		return
	}
	fmt.Fprintf(w, "Hooks\tcount\tmean\tp50\tp99\tmax\n")
	for _, h := range s.Hooks {
		fmt.Fprintf(w, "  %s\t%d", h.Name, h.Calls)
		if h.Duration.Count() > 0 {
			fmt.Fprintf(w, "\t%s", times(&h.Duration, 50, 99))
		}
		if h.Raised > 0 {
			fmt.Fprintf(w, "\t%d raised", h.Raised)
		}
		if h.NotTold > 0 {
			fmt.Fprintf(w, "\t%d without a row", h.NotTold)
		}
		fmt.Fprintln(w)
	}
	for _, h := range s.Hooks {
		if h.NoValues > 0 {
			fmt.Fprintf(w, "  %s: %d values are not there: objects without such an attribute, or of a kind that is not read\n", h.Name, h.NoValues)
		}
		if h.Ended != "" {
			fmt.Fprintf(w, "  %s: %s\n", h.Name, h.Ended)
		}
	}
	fmt.Fprintln(w)
}
