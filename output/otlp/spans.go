package otlp

import (
	"context"
	"crypto/sha256"
	"encoding/binary"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.41.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/live"
)

// request is a request that has ended, with what interrupted it.
type request struct {
	record.RequestRow
	preemptions []record.PreemptionRow
}

// ended reports whether it can be a span: with a beginning and an end.
func (r *request) ended() bool {
	_, known := r.Since()
	return known && r.FinishedNS != nil
}

// spanMaker makes spans of requests and steps with OpenTelemetry's SDK. Not for use by several
// goroutines at once.
type spanMaker struct {
	target   live.Target
	provider *sdk.TracerProvider
	tracer   trace.Tracer
	ids      *ids
	made     *made
}

func newSpanMaker(t live.Target, extra *resource.Resource) *spanMaker {
	m := &spanMaker{target: t, ids: &ids{session: t.SessionID}, made: &made{}}
	m.provider = sdk.NewTracerProvider(sdk.WithIDGenerator(m.ids), sdk.WithSpanProcessor(m.made),
		sdk.WithSampler(sdk.AlwaysSample()), sdk.WithResource(resourceOf(&t, extra)))
	scope := scopeOf(&t)
	m.tracer = m.provider.Tracer(scope.Name, trace.WithInstrumentationVersion(scope.Version))
	return m
}

// spans makes the spans of a trace.
func (m *spanMaker) spans(i item) []sdk.ReadOnlySpan {
	m.made.list = nil
	if i.step != nil {
		m.step(i.step)
	} else {
		m.request(i.request)
	}
	return m.made.list
}

// request makes the spans of a request: itself, and what it did when.
func (m *spanMaker) request(r *request) {
	m.ids.next("request", r.Engine, r.RequestUID)
	begin, _ := r.Since()
	ctx, root := m.tracer.Start(context.Background(), "llm_request", trace.WithSpanKind(trace.SpanKindServer),
		trace.WithTimestamp(wall(&m.target, begin)), trace.WithAttributes(m.attributes(r)...))
	m.child(ctx, "queue", r.ArrivalNS, r.ScheduledNS)
	m.child(ctx, "prefill", r.ScheduledNS, r.FirstTokNS)
	m.child(ctx, "decode", r.FirstTokNS, r.FinishedNS)
	for i := range r.preemptions {
		p := &r.preemptions[i]
		until := p.ResumedNS
		if until == nil {
			until = r.FinishedNS
		}
		m.child(ctx, "preempted", &p.TimeNS, until, attribute.String("pmtrace.preemption.reason", p.Reason))
	}
	if r.Reason != nil && *r.Reason == "error" {
		root.SetStatus(codes.Error, "finish reason: error")
	}
	root.End(trace.WithTimestamp(wall(&m.target, max(*r.FinishedNS, begin))))
}

// step makes the spans of a step: itself, and what the scheduler and the GPU did.
func (m *spanMaker) step(r *record.StepRow) {
	m.ids.next("step", r.Engine, r.StepID)
	list := []attribute.KeyValue{
		attribute.Int("pmtrace.engine", int(r.Engine)), attribute.Int64("pmtrace.step_id", r.StepID),
		attribute.String("pmtrace.phase", r.Phase), attribute.Int("pmtrace.requests", int(r.Requests)), attribute.Int("pmtrace.tokens", int(r.Tokens)),
	}
	if r.GraphMode != nil {
		list = append(list, attribute.String("pmtrace.graph.mode", *r.GraphMode))
	}
	ctx, root := m.tracer.Start(context.Background(), "step", trace.WithTimestamp(wall(&m.target, r.StartNS)), trace.WithAttributes(list...))
	m.child(ctx, "schedule", &r.StartNS, &r.ScheduledNS)
	var timing []attribute.KeyValue
	if r.GPUTimingSource != nil {
		timing = append(timing, attribute.String("pmtrace.timing_source", *r.GPUTimingSource))
	}
	if r.GPUErrorNS != nil {
		timing = append(timing, attribute.Int64("pmtrace.error_bound_ns", *r.GPUErrorNS))
	}
	m.child(ctx, "gpu", r.GPUStartNS, r.GPUEndNS, timing...)
	m.child(ctx, "update", r.UpdateNS, r.EndNS)
	root.End(trace.WithTimestamp(wall(&m.target, max(*r.EndNS, r.StartNS))))
}

// child is a part of a request's life, where both ends are known.
func (m *spanMaker) child(ctx context.Context, name string, from, to *int64, more ...attribute.KeyValue) {
	if from == nil || to == nil || *to < *from {
		return
	}
	_, span := m.tracer.Start(ctx, name, trace.WithTimestamp(wall(&m.target, *from)), trace.WithAttributes(more...))
	span.End(trace.WithTimestamp(wall(&m.target, *to)))
}

// attributes are named by OpenTelemetry's conventions for generative AI, where these have
// a name; else as vLLM's own traces have them (gen_ai.latency.…, seconds).
func (m *spanMaker) attributes(r *request) []attribute.KeyValue {
	list := []attribute.KeyValue{
		attribute.String("gen_ai.request.id", r.ExternalID),
		attribute.Int("pmtrace.engine", int(r.Engine)),
		attribute.Int64("pmtrace.request_uid", r.RequestUID),
		attribute.Int("pmtrace.preemptions", int(r.Preemptions)),
		attribute.Int("pmtrace.steps", int(r.Steps)),
	}
	if m.target.Model != "" {
		list = append(list, semconv.GenAIRequestModel(m.target.Model))
	}
	if r.Reason != nil {
		list = append(list, semconv.GenAIResponseFinishReasons(*r.Reason))
	}
	for _, c := range []struct {
		key attribute.Key
		n   *int32
	}{
		{semconv.GenAIRequestMaxTokensKey, r.MaxTokens}, {semconv.GenAIUsageInputTokensKey, r.PromptTokens},
		{semconv.GenAIUsageOutputTokensKey, r.OutputTokens}, {semconv.GenAIUsageCacheReadInputTokensKey, r.CachedTokens},
	} {
		if c.n != nil {
			list = append(list, c.key.Int(int(*c.n)))
		}
	}
	for _, l := range []struct {
		name string
		ns   *int64
	}{
		{"time_in_queue", r.QueueNS}, {"time_to_first_token", between(r.ArrivalNS, r.FirstTokNS)},
		{"time_in_model_prefill", r.PrefillNS}, {"time_in_model_decode", r.DecodeNS}, {"e2e", between(r.ArrivalNS, r.FinishedNS)},
	} {
		if l.ns != nil {
			list = append(list, attribute.Float64("gen_ai.latency."+l.name, float64(*l.ns)/1e9))
		}
	}
	return list
}

func between(from, to *int64) *int64 {
	if from == nil || to == nil {
		return nil
	}
	ns := *to - *from
	return &ns
}

// ids makes a trace's ids from the session and the number of its request or step, so that
// a session that is exported again gives the same traces.
type ids struct {
	session string
	seed    [sha256.Size]byte // of the trace
	spans   uint64
}

var _ sdk.IDGenerator = (*ids)(nil)

func (g *ids) next(kind string, engine int32, number int64) {
	b := append([]byte(g.session+"\x00"+kind), 0)
	b = binary.LittleEndian.AppendUint32(b, uint32(engine))
	g.seed = sha256.Sum256(binary.LittleEndian.AppendUint64(b, uint64(number)))
	g.spans = 0
}

func (g *ids) NewIDs(ctx context.Context) (id trace.TraceID, span trace.SpanID) {
	copy(id[:], g.seed[:])
	return id, g.NewSpanID(ctx, id)
}

func (g *ids) NewSpanID(context.Context, trace.TraceID) (id trace.SpanID) {
	sum := sha256.Sum256(binary.LittleEndian.AppendUint64(g.seed[:], g.spans))
	g.spans++
	copy(id[:], sum[:])
	return id
}

// made keeps the spans that have ended.
type made struct{ list []sdk.ReadOnlySpan }

func (m *made) OnStart(context.Context, sdk.ReadWriteSpan) {}
func (m *made) OnEnd(s sdk.ReadOnlySpan)                   { m.list = append(m.list, s) }
func (m *made) Shutdown(context.Context) error             { return nil }
func (m *made) ForceFlush(context.Context) error           { return nil }
