package record

// Running is a request that has not ended, as far as it is known. Times are of the
// session, null where unknown.
type Running struct {
	Engine       int32
	RequestUID   int64
	ExternalID   string
	ArrivalNS    *int64
	ScheduledNS  *int64
	FirstTokNS   *int64
	PromptTokens *int32
	OutputTokens *int32
	Preempted    bool // and not resumed
}

// Since is when it came, or was first scheduled where that is not known.
func (r *Running) Since() (ns int64, known bool) { return since(r.ArrivalNS, r.ScheduledNS) }

// Since is when it came, or was first scheduled where that is not known.
func (r *RequestRow) Since() (ns int64, known bool) { return since(r.ArrivalNS, r.ScheduledNS) }

func since(arrival, scheduled *int64) (ns int64, known bool) {
	switch {
	case arrival != nil:
		return *arrival, true
	case scheduled != nil:
		return *scheduled, true
	}
	return 0, false
}
