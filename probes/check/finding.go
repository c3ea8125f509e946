package check

// Status of a finding.
type Status string

const (
	OK   Status = "ok"
	Warn Status = "warn" // tracing works, or may, with less
	Fail Status = "fail" // tracing cannot work
)

// Finding is one thing looked at. ID is stable; scripts may ask for it.
type Finding struct {
	ID     string `json:"id"`
	Name   string `json:"name"`
	Status Status `json:"status"`
	Found  string `json:"found"`
	Needed string `json:"needed,omitempty"`
	Remedy string `json:"remedy,omitempty"`
	PID    int    `json:"pid,omitempty"` // of the server's process it is about
}

// Failed are the findings that stand in the way, the causes before what follows
// from them.
func Failed(all []Finding) []Finding {
	var out []Finding
	for _, f := range all {
		if f.Status == Fail {
			out = append(out, f)
		}
	}
	return out
}

func (f Finding) ok(found string) Finding {
	f.Status, f.Found = OK, found
	return f
}

func (f Finding) warn(found, remedy string) Finding {
	f.Status, f.Found, f.Remedy = Warn, found, remedy
	return f
}

func (f Finding) fail(found, remedy string) Finding {
	f.Status, f.Found, f.Remedy = Fail, found, remedy
	return f
}
