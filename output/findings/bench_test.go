package findings

import (
	"testing"

	"github.com/go-quicktest/qt"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/internal/traffic"
	"github.com/pmtrace/pmtrace/output/session"
)

// BenchmarkFind looks through half an hour's worth of steps: 180,000 of 32 requests.
func BenchmarkFind(b *testing.B) {
	place, err := session.OpenPlace(b.TempDir(), session.Owner{UID: -1, GID: -1})
	qt.Assert(b, qt.IsNil(err))
	defer place.Close()
	tables, err := session.CreateTables(place, session.About{SessionID: "bench"})
	qt.Assert(b, qt.IsNil(err))
	s := traffic.New(traffic.Chat32)
	s.Rows = tables
	const steps = 180_000
	for range steps {
		s.Step()
	}
	qt.Assert(b, qt.IsNil(tables.Close()))
	facts := &session.Facts{Engines: []record.Engine{{MaxSeqs: 64, MaxTokens: 2048}}}
	for b.Loop() {
		search := NewSearch(facts)
		qt.Assert(b, qt.IsNil(session.Visit(place, search.Visitor())))
		_ = search.Findings()
	}
}
