package main

import (
	"bufio"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/session"
)

// shape is what vLLM's CUDAGraphStat tells steps apart by.
type shape struct {
	tokens, padded int
	mode           string
}

// padding compares the steps with what vLLM's --cudagraph-metrics counted.
type padding struct {
	Steps, Logged int
	Differ        []string // shapes
}

func (p *padding) compare(steps []record.StepRow, want map[shape]int) {
	got := stepShapes(steps)
	for _, n := range got {
		p.Steps += n
	}
	for s, n := range want {
		p.Logged += n
		if got[s] != n {
			p.Differ = append(p.Differ, s.String()+": "+strconv.Itoa(got[s])+" steps, logged "+strconv.Itoa(n))
		}
		delete(got, s)
	}
	for s, n := range got {
		p.Differ = append(p.Differ, s.String()+": "+strconv.Itoa(n)+" steps, not logged")
	}
}

func (s shape) String() string {
	return s.mode + " " + strconv.Itoa(s.tokens) + "/" + strconv.Itoa(s.padded)
}

func stepShapes(steps []record.StepRow) map[shape]int {
	got := map[shape]int{}
	for i := range steps {
		st := &steps[i]
		if st.Tokens == 0 {
			continue
		}
		s := shape{tokens: int(st.Tokens), mode: "unknown"}
		if st.GraphMode != nil && st.PaddedTokens != nil {
			s.mode, s.padded = *st.GraphMode, int(*st.PaddedTokens)
		}
		got[s]++
	}
	return got
}

// loggedShapes reads the tables of --cudagraph-metrics from a server's log:
// | unpadded | padded | paddings | mode | count |.
func loggedShapes(path string, from int64) (map[shape]int, error) {
	if path == "" {
		return map[shape]int{}, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if _, err := f.Seek(from, io.SeekStart); err != nil {
		return nil, err
	}
	want := map[shape]int{}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		_, row, ok := strings.Cut(lines.Text(), "|")
		cells := strings.Split(row, "|")
		if !ok || len(cells) < 5 {
			continue
		}
		n, ok := numbers(cells[0], cells[1], cells[4])
		if ok {
			want[shape{n[0], n[1], strings.TrimSpace(cells[3])}] += n[2]
		}
	}
	return want, lines.Err()
}

func numbers(cells ...string) ([]int, bool) {
	n := make([]int, len(cells))
	for i, c := range cells {
		var err error
		if n[i], err = strconv.Atoi(strings.TrimSpace(c)); err != nil {
			return nil, false
		}
	}
	return n, true
}

// contents counts what else a session has.
type contents struct {
	Graphs           map[string]int // by mode and what is known of them
	EncoderDecoder   map[string]int // rows by component
	EncoderAndDecode spread         // of a step: their times over the step's GPU time
	Losses           int64
}

func (c *contents) read(dir *session.Dir, steps []record.StepRow) error {
	c.Graphs, c.EncoderDecoder = map[string]int{}, map[string]int{}
	for g, err := range session.Rows[record.GraphRow](dir) {
		if err != nil {
			return err
		}
		c.Graphs[describe(g)]++
	}
	sums := map[int64]int64{}
	for r, err := range session.Rows[record.EncoderDecoderRow](dir) {
		if err != nil {
			return err
		}
		c.EncoderDecoder[r.Component+", "+r.TimingSource]++
		if r.StepID != nil {
			sums[*r.StepID] += r.DurNS
		}
	}
	for l, err := range session.Rows[record.LossRow](dir) {
		if err != nil {
			return err
		}
		c.Losses += l.Count
	}
	var shares []float64
	for i := range steps {
		if sum, ok := sums[steps[i].StepID]; ok && steps[i].StepGPUNS != nil && *steps[i].StepGPUNS > 0 {
			shares = append(shares, float64(sum)/float64(*steps[i].StepGPUNS))
		}
	}
	c.EncoderAndDecode = of(shares)
	return nil
}

func describe(g *record.GraphRow) string {
	d := "unnamed"
	if g.Mode != nil {
		d = *g.Mode
	}
	if g.Holder != nil {
		d += " of " + *g.Holder
	}
	if g.CaptureNS != nil && g.CapturedNS != nil {
		d += ", capture timed"
	}
	if g.Throwaway {
		d += ", throwaway"
	}
	return d
}
