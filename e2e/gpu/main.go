// Command gpu compares a session of pmtrace with CUPTI's activity records of the
// same run, which the tests' own injection library (truth.c) wrote down: every
// replay by number, the GPU time of every step by its error.
//
//	gpu -session DIR [-truth FILE] [-events FILE] [-log SERVER.log [-log-from BYTES]]
//
// -bounds: of a session with CUPTI's own times, against what it would have without them.
// -events: of a session with CUPTI's own times, against the CUDA events of replays.c.
//
// It prints a JSON object and exits with 1 where counts differ.
package main

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/pmtrace/pmtrace/decode"
	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/journal"
	"github.com/pmtrace/pmtrace/output/session"
)

func main() { os.Exit(run(os.Stdout, os.Stderr, os.Args[1:])) }

func run(stdout, stderr io.Writer, args []string) int {
	flags := flag.NewFlagSet("gpu", flag.ContinueOnError)
	flags.SetOutput(stderr)
	dir := flags.String("session", "", "the session's `directory`")
	each := flags.Bool("steps", false, "print each step's errors instead, as CSV")
	truth := flags.String("truth", "", "the injection library's `file`")
	bound := flags.Bool("bounds", false, "compare the times got from outside with CUPTI's of the same session instead")
	events := flags.String("events", "", "the `file` of CUDA events around each replay")
	log := flags.String("log", "", "the server's log, with the tables of --cudagraph-metrics")
	from := flags.Int64("log-from", 0, "`bytes` of the log that are from before")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	t, err := readTruth(*truth)
	if err != nil {
		fmt.Fprintln(stderr, "gpu:", err)
		return 2
	}
	between, err := readEvents(*events)
	if err != nil {
		fmt.Fprintln(stderr, "gpu:", err)
		return 2
	}
	want, err := loggedShapes(*log, *from)
	if err != nil {
		fmt.Fprintln(stderr, "gpu:", err)
		return 2
	}
	s, err := readSession(*dir)
	if err != nil {
		fmt.Fprintln(stderr, "gpu:", err)
		return 2
	}
	if *each {
		s.print = stdout
		fmt.Fprintln(stdout, "step,mode,waited,source,launch_to_start_us,start_error_us,end_error_us,step_us,truth_us,bound_us")
	}
	if *bound {
		o, err := outside(*dir)
		if err != nil {
			fmt.Fprintln(stderr, "gpu:", err)
			return 2
		}
		_ = printJSON(stdout, compareBounds(s, o))
		return 0
	}
	r := compare(s, t)
	if *each {
		return 0
	}
	r.Contents = s.contents
	r.Events = s.against(between)
	r.Padding.compare(s.steps, want)
	if err := printJSON(stdout, r); err != nil {
		return 2
	}
	if *truth != "" && r.Replays.Missing+r.Replays.Extra+r.Replays.BeforeLaunch > 0 || r.Events.differ() || *log != "" && len(r.Padding.Differ) > 0 {
		return 1
	}
	return 0
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// span is something that the GPU did; CLOCK_MONOTONIC ns.
type span struct {
	start, end, value int64
	id                uint32 // of a graph, by CUPTI; kind of a copy
}

// truth is what CUPTI saw.
type truth struct {
	replays, kernels []span
	toHost           []span // copies, device to host
	dropped          int64
}

const deviceToHost = 2 // CUPTI_ACTIVITY_MEMCPY_KIND_DTOH

func readTruth(path string) (*truth, error) {
	if path == "" {
		return &truth{}, nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return parseTruth(b), nil
}

// parseTruth reads struct record of inject/truth.c.
func parseTruth(b []byte) *truth {
	const size = 32
	t := &truth{}
	for ; len(b) >= size; b = b[size:] {
		kind, id := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])
		s := span{
			int64(binary.LittleEndian.Uint64(b[8:])), int64(binary.LittleEndian.Uint64(b[16:])),
			int64(binary.LittleEndian.Uint64(b[24:])), id,
		}
		switch {
		case kind == 1:
			t.replays = append(t.replays, s)
		case kind == 2 && id == deviceToHost:
			t.toHost = append(t.toHost, s)
		case kind == 3:
			t.kernels = append(t.kernels, s)
		case kind == 4:
			t.dropped += s.value
		}
	}
	for _, list := range [][]span{t.replays, t.toHost, t.kernels} {
		slices.SortFunc(list, func(a, b span) int { return int(a.start - b.start) })
	}
	return t
}

// traced is a session; times are CLOCK_MONOTONIC.
type traced struct {
	print    io.Writer // of each step; nil: not
	from, to int64     // probed
	zero     int64
	steps    []record.StepRow
	launches []record.GraphLaunchRow
	contents contents
}

func readSession(path string) (*traced, error) {
	dir, err := session.Open(path)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	s := &traced{}
	err = eachRecord(dir, func(kind byte, payload []byte) error {
		s.note(kind, payload)
		return nil
	})
	if err != nil {
		return nil, err
	}
	for row, err := range session.Rows[record.StepRow](dir) {
		if err != nil {
			return nil, err
		}
		s.steps = append(s.steps, *row)
	}
	for row, err := range session.Rows[record.GraphLaunchRow](dir) {
		if err != nil {
			return nil, err
		}
		s.launches = append(s.launches, *row)
	}
	if err := s.contents.read(dir, s.steps); err != nil {
		return nil, err
	}
	s.absolute()
	return s, nil
}

// absolute makes all times CLOCK_MONOTONIC.
func (s *traced) absolute() {
	for i := range s.steps {
		r := &s.steps[i]
		r.GPUStartNS, r.GPUEndNS, r.LaunchNS = moved(r.GPUStartNS, s.zero), moved(r.GPUEndNS, s.zero), moved(r.LaunchNS, s.zero)
	}
	for i := range s.launches {
		s.launches[i].LaunchNS += s.zero
	}
	slices.SortFunc(s.launches, func(a, b record.GraphLaunchRow) int { return int(a.LaunchNS - b.LaunchNS) })
}

func moved(at *int64, by int64) *int64 {
	if at == nil {
		return nil
	}
	return new(*at + by)
}

// eachRecord gives each the records of a session's journal.
func eachRecord(dir *session.Dir, each func(kind byte, payload []byte) error) error {
	sub, err := dir.Sub("journal")
	if err != nil {
		return err
	}
	defer sub.Close()
	r, err := journal.Open(sub.FS())
	if err != nil {
		return err
	}
	defer r.Close()
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = each(rec.Kind, rec.Payload)
		}
		if err != nil {
			return err
		}
	}
}

// note takes what a record of the journal says of times: the session's zero, and when calls were probed.
func (s *traced) note(kind byte, payload []byte) {
	var f record.Fact
	if kind != decode.RecordFact || json.Unmarshal(payload, &f) != nil {
		return
	}
	switch {
	case f.Start != nil:
		s.zero = f.Start.MonoNS
	case f.Worker != nil && s.from == 0:
		s.from = f.Worker.MonoNS
	case f.End != nil:
		s.to = f.End.MonoNS
	}
}

// result is the comparison.
type result struct {
	Replays struct {
		Truth, Launched, Named, Missing, Extra int
		BeforeLaunch                           int   // replays that began before their launch was called: a wrong pairing
		Dropped                                int64 // by CUPTI
	}
	// Steps whose GPU time both know, by whether the host waited for the GPU.
	Waited, NotWaited regime
	Sampled           regime // timing source gpu_sampled
	Modes             map[string]int
	Padding           padding
	Contents          contents
	Events            *events `json:",omitempty"`

	steps map[int64]float64 // relative error of each
}

// regime describes the error of steps, ns: ours minus CUPTI's.
type regime struct {
	Steps        int
	WithinBound  float64 // share
	Start, End   spread
	Step         spread
	RelativeStep spread // of |error| / truth
	TruthStep    spread
	ReplayShare  spread // replay / step GPU time, both CUPTI's
}

type spread struct{ P1, Median, P99, Max float64 }

func of(v []float64) spread {
	if len(v) == 0 {
		return spread{}
	}
	slices.Sort(v)
	at := func(p float64) float64 { return v[int(p*float64(len(v)-1))] }
	return spread{at(0.01), at(0.5), at(0.99), v[len(v)-1]}
}

type samples struct {
	within                                         int
	start, end, step, relative, truth, replayShare []float64
}

func (s *samples) regime() regime {
	r := regime{
		Steps: len(s.step), Start: of(s.start), End: of(s.end), Step: of(s.step),
		RelativeStep: of(s.relative), TruthStep: of(s.truth), ReplayShare: of(s.replayShare),
	}
	if r.Steps > 0 {
		r.WithinBound = float64(s.within) / float64(r.Steps)
	}
	return r
}

func compare(s *traced, t *truth) *result {
	r := &result{Modes: map[string]int{}, steps: map[int64]float64{}}
	r.Replays.Dropped = t.dropped
	pairs := r.pair(s, t)
	var waited, not, sampled samples
	type key struct {
		engine int32
		step   int64
	}
	byStep := map[key][]span{}
	for i, l := range s.launches {
		if l.StepID == nil || l.Engine == nil || pairs[i].start == 0 || l.Phase != "forward" {
			continue
		}
		k := key{*l.Engine, *l.StepID}
		byStep[k] = append(byStep[k], pairs[i])
	}
	for i := range s.steps {
		st := &s.steps[i]
		if st.Tokens > 0 && st.GraphMode != nil {
			r.Modes[*st.GraphMode]++
		}
		spans := byStep[key{st.Engine, st.StepID}]
		if len(spans) == 0 || st.StepGPUNS == nil || st.GPUErrorNS == nil || st.GPUStartNS == nil || st.GPUEndNS == nil {
			continue
		}
		start, modelEnd := spans[0].start, spans[len(spans)-1].end
		end, ok := t.outputCopied(modelEnd)
		if !ok {
			continue
		}
		into := &not
		if st.HostWaited != nil && *st.HostWaited {
			into = &waited
		}
		if st.GPUTimingSource != nil && *st.GPUTimingSource == record.TimingGPUSampled {
			into = &sampled
		}
		diff := float64(*st.StepGPUNS - (end - start))
		if s.print != nil {
			us := func(ns int64) float64 { return float64(ns) / 1e3 }
			fmt.Fprintf(s.print, "%d,%s,%t,%s,%.0f,%.0f,%.0f,%.0f,%.0f,%.0f\n", st.StepID, *st.GraphMode, *st.HostWaited, *st.GPUTimingSource,
				us(start-*st.LaunchNS), us(*st.GPUStartNS-start), us(*st.GPUEndNS-end), us(*st.StepGPUNS), us(end-start), us(*st.GPUErrorNS))
		}
		r.steps[st.StepID] = max(diff, -diff) / float64(end-start)
		into.start = append(into.start, float64(*st.GPUStartNS-start))
		into.end = append(into.end, float64(*st.GPUEndNS-end))
		into.step = append(into.step, diff)
		into.relative = append(into.relative, max(diff, -diff)/float64(end-start))
		into.truth = append(into.truth, float64(end-start))
		into.replayShare = append(into.replayShare, float64(modelEnd-start)/float64(end-start))
		if max(diff, -diff) <= float64(*st.GPUErrorNS) {
			into.within++
		}
	}
	r.Waited, r.NotWaited, r.Sampled = waited.regime(), not.regime(), sampled.regime()
	return r
}

// pair gives each launch its replay: both are in order on the model's stream.
func (r *result) pair(s *traced, t *truth) []span {
	pairs := make([]span, len(s.launches))
	if len(s.launches) == 0 {
		return pairs
	}
	first, last := s.launches[0].LaunchNS, s.launches[len(s.launches)-1].LaunchNS
	begin, _ := slices.BinarySearchFunc(t.replays, first, func(s span, at int64) int { return int(s.start - at) })
	replays := t.replays[begin:]
	r.Replays.Launched = len(s.launches)
	for i := range s.launches {
		if s.launches[i].Descriptor != nil {
			r.Replays.Named++
		}
		if i >= len(replays) {
			r.Replays.Extra++ // launched, and CUPTI tells of no replay (the end of the run)
			continue
		}
		pairs[i] = replays[i]
		if replays[i].start < s.launches[i].LaunchNS {
			r.Replays.BeforeLaunch++
		}
	}
	r.Replays.Truth = len(replays)
	for _, x := range replays[min(len(replays), len(s.launches)):] {
		if x.start < last || x.start < s.to-1e9 {
			r.Replays.Missing++ // replayed while it was probed, and no launch seen
		}
	}
	return pairs
}

// sameCopyNS: copies of one step's results follow each other within this time.
const sameCopyNS = 300_000

// outputCopied is when the step's results were on the host: the last of the copies
// in a row that follow the model.
func (t *truth) outputCopied(modelEnd int64) (int64, bool) {
	i, _ := slices.BinarySearchFunc(t.toHost, modelEnd, func(s span, at int64) int { return int(s.start - at) })
	if i == len(t.toHost) {
		return 0, false
	}
	end := t.toHost[i].end
	for i++; i < len(t.toHost) && t.toHost[i].start < end+sameCopyNS; i++ {
		end = max(end, t.toHost[i].end)
	}
	return end, true
}
