package otlp

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/go-quicktest/qt"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/live"
	"github.com/pmtrace/pmtrace/output/session"
)

func TestParseEndpoint(t *testing.T) {
	for s, want := range map[string]string{
		"grpc://localhost": "grpc://localhost:4317", "grpcs://h:1/": "grpcs://h:1/",
		"http://localhost": "http://localhost:4318", "https://h:9/otlp": "https://h:9/otlp", "http://[::1]": "http://[::1]:4318",
	} {
		e, err := ParseEndpoint(s)
		qt.Assert(t, qt.IsNil(err), qt.Commentf("%s", s))
		qt.Check(t, qt.Equals(e.String(), want))
	}
	e, err := ParseEndpoint("https://h/otlp/")
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(e.signal("traces"), "https://h:4318/otlp/v1/traces"))
	for _, s := range []string{"", "localhost:4317", "ftp://h", "grpc://", "http://user:secret@h", "grpc://h/path", "http://h:x", "http://%zz"} {
		_, err := ParseEndpoint(s)
		qt.Check(t, qt.IsNotNil(err), qt.Commentf("%s", s))
	}
}

// What finds the queue full is dropped at once, and counted.
func TestQueueIsBounded(t *testing.T) {
	mute, err := net.Listen("tcp", "127.0.0.1:0")
	qt.Assert(t, qt.IsNil(err))
	defer mute.Close()
	endpoint, err := ParseEndpoint("grpc://" + mute.Addr().String())
	qt.Assert(t, qt.IsNil(err))
	failures := make(chan error, 10)
	x, err := Start(Options{
		Endpoint: endpoint, Queue: 100, Snapshot: live.NewTotals().Snapshot, Now: time.Now, Report: func(err error) { failures <- err },
	})
	qt.Assert(t, qt.IsNil(err))
	l := x.Listener()
	l.Describe(&session.Facts{Start: record.Start{SessionID: "s"}})
	const requests = 100_000
	zero := int64(0)
	began := time.Now()
	for i := range int64(requests) {
		qt.Assert(t, qt.IsNil(l.Request(&record.RequestRow{RequestUID: i, ArrivalNS: &zero, FinishedNS: &i})))
	}
	qt.Check(t, qt.IsTrue(time.Since(began) < 5*time.Second), qt.Commentf("%v", time.Since(began)))
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_ = x.Close(ctx)
	s := x.Stats()[0]
	qt.Check(t, qt.Equals(s.Sent, 0))
	qt.Check(t, qt.Equals(s.Dropped, requests))
	qt.Check(t, qt.IsNotNil(<-failures)) // once
	qt.Check(t, qt.HasLen(failures, 0))
}

// A request has the spans whose ends are known, and none with an end before its beginning.
func TestSpans(t *testing.T) {
	ns := func(n int64) *int64 { return &n }
	m := newSpanMaker(live.Target{SessionID: "s", StartWall: 1e18, Model: "model"}, nil)
	r := request{RequestRow: record.RequestRow{
		ArrivalNS: ns(10), ScheduledNS: ns(5), FinishedNS: ns(30), FirstTokNS: ns(20), Reason: new(string),
	}, preemptions: []record.PreemptionRow{{TimeNS: 22, ResumedNS: ns(25)}, {TimeNS: 28}}}
	*r.Reason = "error"
	var names []string
	for _, s := range m.spans(item{request: &r}) {
		names = append(names, s.Name())
		qt.Check(t, qt.IsFalse(s.EndTime().Before(s.StartTime())))
		qt.Check(t, qt.IsTrue(s.StartTime().UnixNano() >= 1e18))
	}
	qt.Check(t, qt.DeepEquals(names, []string{"prefill", "decode", "preempted", "preempted", "llm_request"}))
	for _, r := range []record.RequestRow{{FinishedNS: ns(1)}, {ArrivalNS: ns(1)}} {
		qt.Check(t, qt.IsFalse((&request{RequestRow: r}).ended()))
	}
}

// Preemptions of requests whose end was lost do not stay for ever.
func TestFeedIsBounded(t *testing.T) {
	lost := 0
	f := newFeed(func(item) {}, maxPreempted, func() { lost++ })
	for i := range int64(2 * maxPreempted) {
		qt.Assert(t, qt.IsNil(f.Preemption(&record.PreemptionRow{RequestUID: i})))
	}
	qt.Check(t, qt.Equals(len(f.preempted), maxPreempted))
	qt.Check(t, qt.Equals(lost, maxPreempted))
}

// What a request with all of its parts costs to be made spans of.
func BenchmarkSpans(b *testing.B) {
	ns := func(n int64) *int64 { return &n }
	n, reason := int32(7), "stop"
	m := newSpanMaker(live.Target{SessionID: "s", StartWall: 1e18, Model: "model"}, nil)
	r := request{RequestRow: record.RequestRow{
		ArrivalNS: ns(1), ScheduledNS: ns(5), FirstTokNS: ns(20), FinishedNS: ns(30), QueueNS: ns(4), PrefillNS: ns(15), DecodeNS: ns(10),
		Reason: &reason, PromptTokens: &n, OutputTokens: &n, CachedTokens: &n, MaxTokens: &n, ExternalID: "id",
	}, preemptions: []record.PreemptionRow{{TimeNS: 22, ResumedNS: ns(25)}}}
	for b.Loop() {
		m.spans(item{request: &r})
	}
}
