package session

import (
	"strings"
	"testing"

	"github.com/go-quicktest/qt"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/internal/traffic"
)

// Hooks of all processes are added up by name: their counts are the kernel's, their times
// those of the rows.
func TestHookSummary(t *testing.T) {
	returned, raised := record.HookReturned, record.HookRaised
	d, facts := traced(t, traffic.Decode32, 0, func(tables *Tables) {
		for i, r := range []record.HookRow{
			{Hook: "add", DurNS: new(int64(1000)), Outcome: &returned},
			{Hook: "add", DurNS: new(int64(3000)), Outcome: &returned},
			{Hook: "add", Outcome: &raised},
			{Hook: "seen", Call: 7},
		} {
			r.TimeNS = int64(i)
			qt.Assert(t, qt.IsNil(tables.Hook(&r)))
		}
	})
	for _, h := range []record.Hook{{Hook: 0, Name: "add"}, {Hook: 1, Name: "add"}, {Hook: 2, Name: "seen"}, {Hook: 3, Name: "idle"}} {
		facts.Add(record.Fact{Hook: &h})
	}
	facts.Add(record.Fact{HookCounts: &record.HookCounts{Counts: []record.HookCount{{Hook: 0, Calls: 1}}}})
	facts.Add(record.Fact{HookCounts: &record.HookCounts{Counts: []record.HookCount{
		{Hook: 0, Calls: 5, NotTold: 2}, {Hook: 1, Calls: 4, NotTold: 1, NoValues: 6}, {Hook: 2, Calls: 1}, {Hook: 3},
	}}})
	facts.Add(record.Fact{Hook: &record.Hook{Hook: 2, Name: "seen", Ended: "called 30000 times a second"}})
	s, err := WriteFiles(d, facts, false)
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.HasLen(s.Hooks, 3))
	qt.Check(t, qt.Equals(s.Hooks[0].Calls, 9))
	qt.Check(t, qt.Equals(s.Hooks[0].Duration.Mean(), 2000))
	var text strings.Builder
	qt.Assert(t, qt.IsNil(s.WriteText(&text)))
	_, table, _ := strings.Cut(text.String(), "\nHooks ")
	table, _, _ = strings.Cut(table, "\n\n")
	var lines []string
	for line := range strings.Lines(table) {
		lines = append(lines, strings.Join(strings.Fields(line), " "))
	}
	qt.Check(t, qt.DeepEquals(lines, []string{
		"count mean p50 p99 max",
		"add 9 2.0 µs 2.0 µs 3.0 µs 3.0 µs 1 raised 3 without a row",
		"seen 1",
		"idle 0",
		"add: 6 values are not there: objects without such an attribute, or of a kind that is not read",
		"seen: called 30000 times a second",
	}))
}

func TestNoHooks(t *testing.T) {
	d, facts := traced(t, traffic.Decode32, 0, nil)
	s, err := WriteFiles(d, facts, false)
	qt.Assert(t, qt.IsNil(err))
	var text strings.Builder
	qt.Assert(t, qt.IsNil(s.WriteText(&text)))
	qt.Check(t, qt.Not(qt.StringContains(text.String(), "\nHooks ")))
}
