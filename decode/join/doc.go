// Package join makes rows of events: schedule calls and updates become steps,
// keys become requests, queue operations become the life of blocks.
//
// # What belongs together
//
// The events of one schedule call follow each other (its head, its lists, the
// requests it announces); the call is closed by the first event that is not
// part of it, and only then interpreted: a key may be used by a list that comes
// before the event that announces it. The same holds for update_from_output,
// whose rows come before its end. Queue operations of a schedule call come
// before it returns: they wait for the call that tells which step they belong
// to and which Request their owner is.
//
// A step is paired with its update by the address of its SchedulerOutput,
// since with asynchronous scheduling update i follows schedule i+1. Steps are
// handed on in the order of their ids, as soon as their update has returned.
//
// # After a loss
//
// The sequence numbers of an engine's events show where some are missing. What
// was counted up from events is then not trusted any more until the tracer
// announces the request anew: an update is paired only if its number has the
// expected distance to the step's, kinds that cannot be told are unknown,
// counts of tokens handed out are null, births of blocks are unknown. What an
// event says by itself (the totals of a step) stays right.
//
// # CUDA calls
//
// Each thread of a worker process numbers its own events. In the engine's own
// process the calls of the thread that runs the scheduler belong to the step that
// schedule returned last; a wait on an event belongs to the step that recorded the
// event behind its results, which with asynchronous scheduling is the one before. In
// other processes steps are matched in order, by their counts of tokens and
// requests, with the engine's steps under way; the lowest rank's times are the
// step's.
//
// A step's GPU time ends when its output event is complete, and begins with its
// first launch or the end of the step before; bound.go has what these times can be
// off by. After lost events, and where what bounds them is not known, they are null.
//
// # Experts
//
// In a recorded server the library tells what each run of a routing kernel chose. A
// forward pass is as many runs in a row as the model has layers with experts; passes are
// given to steps in order, each to one within whose GPU time it ran and whose padded
// tokens its rows are. The numbers of runs show how many passes were lost in between. A
// pass that fits no step is a warm-up's or a dummy batch's. Only the lowest rank's are
// counted, since all ranks choose alike.
//
// # What waits
//
// Where calls are probed, a step's row waits until they have gone on to the next
// step, its graphs are named, and the counters' samples have passed its end: 3 s by
// the times of events at most, and while the server is idle, until it goes on; so do
// the choices of its experts. Rows
// of graph launches wait for their step and name. A graph's own row comes when it is
// destroyed or at the end. Everything else is handed on at once.
//
// # Not seen
//
// reset_prefix_cache drops the hashes of free blocks without an event; vLLM's
// own metrics then forget the blocks' births, and this package does not.
package join
