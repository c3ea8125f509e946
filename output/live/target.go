package live

import (
	"strconv"

	"github.com/pmtrace/pmtrace/output/session"
)

// Target says whose metrics they are.
type Target struct {
	SessionID string
	StartWall int64 // UNIX time of the session's zero, ns
	Pmtrace   string
	Mode      string // attach, record
	Host      string

	Model          string
	VLLM           string
	Python         string
	Device         string
	PID            int // of the first engine
	TensorParallel int
	PipeParallel   int
	DataParallel   int
	GPU            string // name of the first one
}

// TargetOf takes it from the session's facts. What is not known is empty.
func TargetOf(f *session.Facts) Target {
	t := Target{
		SessionID: f.Start.SessionID, StartWall: f.Start.WallNS,
		Pmtrace: f.Start.Version, Mode: f.Start.Mode, Host: f.Start.Host,
	}
	if len(f.Engines) > 0 {
		e := f.Engines[0]
		t.Model, t.VLLM, t.Python, t.Device, t.PID = e.Model, e.VLLM, e.Python, e.Device, e.PID
		t.TensorParallel, t.PipeParallel, t.DataParallel = e.TP, e.PP, e.DP
	}
	if len(f.GPUs) > 0 {
		t.GPU = f.GPUs[0].Name
	}
	return t
}

// Attribute is a fact of a Target by its name.
type Attribute struct{ Name, Value string }

// Attributes are the facts that are known, those that tell servers apart first.
func (t *Target) Attributes() []Attribute {
	number := func(n int) string {
		if n == 0 {
			return ""
		}
		return strconv.Itoa(n)
	}
	var known []Attribute
	for _, a := range []Attribute{
		{"model", t.Model}, {"vllm_version", t.VLLM}, {"python_version", t.Python}, {"device", t.Device}, {"gpu_name", t.GPU},
		{"tensor_parallel", number(t.TensorParallel)}, {"pipeline_parallel", number(t.PipeParallel)},
		{"data_parallel", number(t.DataParallel)}, {"session_id", t.SessionID}, {"mode", t.Mode},
	} {
		if a.Value != "" {
			known = append(known, a)
		}
	}
	return known
}
