package session

import (
	"cmp"
	"strconv"

	"github.com/pmtrace/pmtrace/decode/record"
)

// preemptionFiles has an event for each start, preemption, resumption and end
// of a request, in the order of time, and a line for each request.
//
// What was preempted is remembered until its request comes by: some 50 bytes a
// preempted request.
func preemptionFiles(out *outputs, _ *Facts) Visitor {
	csv := out.csv(FilePreemptions, headerPreemptions)
	lifecycle := out.csv(FileLifecycle, headerLifecycle)
	events := newLineSorter(out.dir, "."+FilePreemptions+".sort")
	line := &csvFile{} // builds the lines of events, writes none

	type last struct {
		time    int64
		resumed *int64
	}
	lasts := map[int64]last{}
	reasons := counts{}
	var preemptions, requests int64
	var running, delay mean
	var maxDelay float64

	event := func(at int64, id, name, reason string, running *int64, extra string) error {
		line.sec(at).text(id).text(name).text(reason).optSec(running).text(extra)
		err := events.add(at, line.line[:len(line.line)-1])
		line.line = line.line[:0]
		return err
	}
	return Visitor{
		Preemption: func(r *record.PreemptionRow) error {
			preemptions++
			reasons.add(r.Reason)
			if r.RunningNS != nil {
				running.add(float64(*r.RunningNS))
			}
			if old, ok := lasts[r.RequestUID]; !ok || r.TimeNS >= old.time {
				lasts[r.RequestUID] = last{r.TimeNS, r.ResumedNS}
			}
			extra := ""
			if r.BlocksFreed != nil {
				extra = "blocks_freed=" + strconv.Itoa(int(*r.BlocksFreed))
			}
			if err := event(r.TimeNS, r.RequestID, "preempted", r.Reason, r.RunningNS, extra); err != nil {
				return err
			}
			if r.ResumedNS == nil {
				return nil
			}
			d := float64(*r.ResumedNS - r.TimeNS)
			delay.add(d)
			maxDelay = max(maxDelay, d)
			return event(*r.ResumedNS, r.RequestID, "resumed", "", nil, "")
		},
		Request: func(r *record.RequestRow) error {
			requests++
			var total, delay *int64
			p, preempted := lasts[r.RequestUID]
			delete(lasts, r.RequestUID)
			lifecycle.text(r.RequestID).optSec(r.ScheduledNS)
			if preempted {
				lifecycle.sec(p.time).optSec(p.resumed)
				if p.resumed != nil {
					delay = new(*p.resumed - p.time)
				}
			} else {
				lifecycle.comma().comma()
			}
			if r.ScheduledNS != nil && r.FinishedNS != nil {
				total = new(*r.FinishedNS - *r.ScheduledNS)
			}
			lifecycle.optSec(r.FinishedNS).optSec(total).optSec(delay).end()
			if r.ScheduledNS != nil {
				if err := event(*r.ScheduledNS, r.RequestID, "started", "", nil, ""); err != nil {
					return err
				}
			}
			if r.FinishedNS != nil {
				extra := ""
				if r.Reason != nil {
					extra = "finish_reason=" + *r.Reason
				}
				if err := event(*r.FinishedNS, r.RequestID, "finished", "", total, extra); err != nil {
					return err
				}
			}
			return lifecycle.err
		},
		Done: func() error {
			err := events.each(func(text []byte) error {
				csv.line = append(append(csv.line, text...), ',')
				csv.end()
				return csv.err
			})
			if err != nil {
				return err
			}
			return out.json(FilePreemptionSummary, object{
				{"total_preemptions", preemptions},
				{"total_requests", requests},
				{"preemption_reasons", reasons.json()},
				{"mean_running_time_before_preempt", seconds(running.value())},
				{"mean_resume_delay", seconds(delay.value())},
				{"max_resume_delay", seconds(maxDelay)},
			})
		},
	}
}

// timedLine is a line that is waiting for its place.
type timedLine struct {
	at   int64
	n    int64 // ties keep the order they came in
	text []byte
}

func (a timedLine) compare(b timedLine) int {
	return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.n, b.n))
}
