//go:build e2e

package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"testing"

	"github.com/pmtrace/pmtrace/decode/wire"
)

// Kinds of entries in a worker's truth (e2e/stub/gpu.c, e2e/shape/cuda_truth.py).
const (
	workKernel      = "kernel"
	workGraph       = "graph"
	workCopy        = "copy"
	workEvent       = "event"
	workSync        = "sync"
	workQuery       = "query"
	workCapture     = "capture"
	workInstantiate = "instantiate"
	workDestroy     = "destroy"
	workCollective  = "collective"
	workNamed       = "named"
	workStep        = "step"
	workRouting     = "routing"
	workCalls       = "calls"
)

// gpuEntry is a call of the program's and when the stub's GPU did its work. Times
// are of CLOCK_MONOTONIC, in ns.
type gpuEntry struct {
	Work     string     `json:"work"`
	Step     int        `json:"step"`
	Phase    wire.Phase `json:"phase"`
	Thread   int        `json:"thread"` // the kernel's id, in the program's namespace
	Stream   int        `json:"stream"` // 0: the default one
	Handle   uint64     `json:"handle"`
	Called   int64      `json:"called"`
	Start    int64      `json:"start"` // of a sync: its return; of a capture: its begin
	End      int64      `json:"end"`   // of a sync: when what it waited for was done
	Amount   int64      `json:"amount"`
	Name     string     `json:"name"`
	Graph    int        `json:"graph"`
	Detail   int        `json:"detail"`
	Captured bool       `json:"captured"`
	Result   int        `json:"result"`
}

// namedGraph says what the program holds a graph for.
type namedGraph struct {
	Graph      int    `json:"graph"`
	Handle     uint64 `json:"handle"`
	Holder     string `json:"holder"`
	Mode       string `json:"mode"`
	Throwaway  bool   `json:"throwaway"`
	Piece      *int   `json:"piece"`
	Pieces     *int   `json:"pieces"`
	Descriptor struct {
		NumTokens         *int `json:"num_tokens"`
		NumReqs           *int `json:"num_reqs"`
		UniformTokenCount *int `json:"uniform_token_count"`
		TokenBudget       *int `json:"token_budget"`
	} `json:"descriptor"`
}

// gpuStep is what a worker was to run in a step.
type gpuStep struct {
	Step          int     `json:"step"`
	Tokens        int     `json:"tokens"`
	Requests      int     `json:"requests"`
	Mode          *string `json:"mode"`
	Padded        int     `json:"padded"`
	EncoderInputs int     `json:"encoder_inputs"`
	ran           []gpuEntry
}

// gpuRouting is what the tokens of a step chose in a layer, as a replay or a kernel did it.
type gpuRouting struct {
	Step  int   `json:"step"`
	Layer int32 `json:"layer"`
	TopK  int   `json:"top_k"`
	IDs   []int `json:"ids"` // of each token, in the order of the batch
}

// gpuTruth is all that a worker did.
type gpuTruth struct {
	steps    []gpuStep
	graphs   map[int]namedGraph // by the stub's number
	captures []gpuEntry
	made     map[int]gpuEntry // instantiations, by the stub's number
	gone     map[int]int64    // when graphs were destroyed
	launches []gpuEntry       // of graphs, all
	stray    []gpuEntry       // work of no step
	routings []gpuRouting     // of steps' tokens
	calls    map[string]int   // by function
}

// readTruth reads what the worker of a rank wrote.
func readTruth(t *testing.T, path string, rank int) *gpuTruth {
	t.Helper()
	f, err := os.Open(fmt.Sprintf("%s.gpu%d", path, rank))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	truth := &gpuTruth{graphs: map[int]namedGraph{}, made: map[int]gpuEntry{}, gone: map[int]int64{}}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if err := truth.line(lines.Bytes()); err != nil {
			t.Fatalf("%s: %v: %s", f.Name(), err, lines.Bytes())
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return truth
}

func (g *gpuTruth) line(line []byte) error {
	var e gpuEntry
	if err := json.Unmarshal(line, &e); err != nil {
		return err
	}
	switch e.Work {
	case workNamed:
		var n namedGraph
		err := json.Unmarshal(line, &n)
		g.graphs[n.Graph] = n
		return err
	case workStep:
		var s gpuStep
		err := json.Unmarshal(line, &s)
		if err == nil && s.Step != len(g.steps) {
			err = fmt.Errorf("step %d follows %d", s.Step, len(g.steps)-1)
		}
		g.steps = append(g.steps, s)
		return err
	case workRouting:
		var r gpuRouting
		err := json.Unmarshal(line, &r)
		g.routings = append(g.routings, r)
		return err
	case workCalls:
		var c struct{ Calls map[string]int }
		err := json.Unmarshal(line, &c)
		g.calls = c.Calls
		return err
	}
	g.entry(e)
	return nil
}

func (g *gpuTruth) entry(e gpuEntry) {
	switch {
	case e.Work == workCapture:
		g.captures = append(g.captures, e)
	case e.Work == workInstantiate:
		g.made[e.Graph] = e
	case e.Work == workDestroy:
		g.gone[e.Graph] = e.Called
	case e.Captured:
	default:
		if e.Work == workGraph {
			g.launches = append(g.launches, e)
		}
		if e.Step >= 0 && e.Step < len(g.steps) && e.Phase != wire.PhaseCapture && e.Phase != wire.PhaseDummy {
			g.steps[e.Step].ran = append(g.steps[e.Step].ran, e)
		} else {
			g.stray = append(g.stray, e)
		}
	}
}

// last is the last step in which something was called.
func (g *gpuTruth) last() int {
	for i := len(g.steps) - 1; i >= 0; i-- {
		if len(g.steps[i].ran) > 0 {
			return i
		}
	}
	return -1
}

// count is how often a step did something.
func (s *gpuStep) count(works ...string) (n int) {
	for _, e := range s.ran {
		for _, w := range works {
			if e.Work == w {
				n++
			}
		}
	}
	return n
}

// copied is the bytes of its copies.
func (s *gpuStep) copied() (n int64) {
	for _, e := range s.ran {
		if e.Work == workCopy {
			n += e.Amount
		}
	}
	return n
}

// start is the model's first work: the encoder's, where there is any, else the
// forward pass's.
func (s *gpuStep) start() (e gpuEntry, ok bool) {
	for _, e := range s.ran {
		if (e.Work == workGraph || e.Work == workKernel) &&
			(e.Phase == wire.PhaseEncoder || e.Phase == wire.PhaseForward || e.Phase == wire.PhaseCrossAttention) {
			return e, true
		}
	}
	return e, false
}

// end is when the output event was complete: the last that was recorded with the
// copy of the results.
func (s *gpuStep) end() (end int64, ok bool) {
	for _, e := range s.ran {
		if e.Work == workEvent && e.Phase == wire.PhaseOutputCopy {
			end, ok = e.End, true
		}
	}
	return end, ok
}

// waited is the host's wait for that event.
func (s *gpuStep) waited() (e gpuEntry, ok bool) {
	end, _ := s.end()
	for _, w := range s.ran {
		if w.Work == workSync && w.End == end {
			e, ok = w, true
		}
	}
	return e, ok
}

// late is how long after the work was done (or after it was asked, if it was done
// then) a wait returned.
func (e *gpuEntry) late() int64 { return max(e.Start-max(e.End, e.Called), 0) }
