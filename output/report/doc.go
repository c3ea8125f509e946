// Package report answers questions from a session's tables: which requests were
// slow, and where each nanosecond of one went (Slowest, Choose, Explain). It reads rows and
// nothing else: no clock, no opinion that is not in them.
//
// A request's life is cut into pieces, each of one Part, that do not overlap and
// leave nothing out. What happened at an instant is decided in this order: a step
// that the request was in ran on the GPU; it was queued; it was preempted; a step
// without it ran; the host did one of its operations, or something between them;
// not known. So the parts of any stretch sum to it exactly.
//
// A step that also computed prompt tokens of others took longer for it. How much of
// its time that is can only be attributed, not measured: what it took beyond the
// median of the last steps before it with decodes alone and like batch size, by
// tokens among those who prefilled; where there are no such steps, its time by the
// share of tokens. What a request queued for is attributed, too: to the limit that
// the columns of each schedule call show that did not take it.
package report
