package compare

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

// Level is the chance, at most, of any difference that is none being shown.
const Level = 0.05

// What the statistics count.
const (
	UnitRun   = "run"
	UnitBlock = "block"
)

// Result is what two sides differ in.
type Result struct {
	Unit    string       `json:"unit"`
	A       []string     `json:"a"`
	B       []string     `json:"b"`
	Setup   []Difference `json:"setup"`
	Notes   []string     `json:"notes"`
	Metrics []Row        `json:"metrics"` // those shown to differ first, the others in their order
	NoData  []string     `json:"no_data"` // metrics of which neither side knows anything
}

// Row is a metric on both sides. What is not known is null.
type Row struct {
	Metric
	A      Value    `json:"a"`
	B      Value    `json:"b"`
	Change *float64 `json:"change"` // 0.03: B has 3 % more
	Low    *float64 `json:"change_low"`
	High   *float64 `json:"change_high"` // the 95 % interval, of this metric by itself
	P      *float64 `json:"p"`           // corrected for all metrics; null: too little to test
	Shown  bool     `json:"significant"`
	Worse  bool     `json:"worse"`
}

// Value is a side's: the mean of its runs.
type Value struct {
	Mean *float64 `json:"value"`
	// Several runs: the standard deviation between them. One: the standard error of
	// its value, by its blocks.
	Spread *float64 `json:"spread"`
	Runs   int      `json:"runs"` // that have the metric
}

// Compare compares two sides of a run each at least.
func Compare(a, b []*Run) *Result {
	r := &Result{Unit: UnitRun, A: paths(a), B: paths(b), Setup: differences(a, b), Metrics: []Row{}, NoData: []string{}}
	metrics := metricsOf(slices.Concat(a, b))
	var rows []Row
	if len(a) == 1 && len(b) == 1 {
		r.Unit = UnitBlock
		alike(a[0], b[0])
		rows = compareBlocks(metrics, a[0], b[0])
	} else {
		rows = compareRuns(metrics, a, b)
	}
	r.Notes = notes(a, b)
	for _, row := range rows {
		if row.A.Runs+row.B.Runs == 0 {
			r.NoData = append(r.NoData, row.Name)
			continue
		}
		row.judge()
		r.Metrics = append(r.Metrics, row)
	}
	slices.SortStableFunc(r.Metrics, func(x, y Row) int { return cmp.Compare(rank(x), rank(y)) })
	return r
}

func rank(r Row) int {
	if r.Shown {
		return 0
	}
	return 1
}

func (r *Row) judge() {
	r.Shown = r.P != nil && *r.P <= Level
	if r.Shown {
		more := *r.B.Mean > *r.A.Mean
		r.Worse = r.Better == Lower && more || r.Better == Higher && !more
	}
}

func compareBlocks(metrics []Metric, a, b *Run) []Row {
	da, db := drawFrom(a, metrics, 1), drawFrom(b, metrics, 2)
	p := withinRuns(metrics, a, b)
	rows := make([]Row, len(metrics))
	for i, m := range metrics {
		rows[i] = Row{Metric: m, A: valueOf(da.value[i], da.sure[i]), B: valueOf(db.value[i], db.sure[i]), P: known(p[i])}
		low, high := ratioOf(da, db, i)
		rows[i].change(da.value[i], db.value[i], low, high)
	}
	return rows
}

func valueOf(v, spread float64) Value {
	if math.IsNaN(v) {
		return Value{}
	}
	return Value{known(v), known(spread), 1}
}

func compareRuns(metrics []Metric, a, b []*Run) []Row {
	va, vb := runValues(metrics, a), runValues(metrics, b)
	p := make([]float64, len(metrics))
	for i := range p {
		p[i] = math.NaN()
	}
	if leastP(len(a), len(b)) <= Level {
		p = betweenRuns(va, vb)
	}
	rows := make([]Row, len(metrics))
	for i, m := range metrics {
		ma, mb := column(va, i), column(vb, i)
		rows[i] = Row{Metric: m, A: ma.value(), B: mb.value(), P: known(p[i])}
		low, high := interval(ma, mb)
		rows[i].change(ma.mean, mb.mean, low, high)
	}
	return rows
}

func runValues(metrics []Metric, runs []*Run) [][]float64 {
	var v [][]float64
	for _, r := range runs {
		v = append(v, values(metrics, r.whole()))
	}
	return v
}

// column has the runs that have the metric.
func column(v [][]float64, i int) (m moments) {
	for _, run := range v {
		if !math.IsNaN(run[i]) {
			m.add(run[i])
		}
	}
	return m
}

func (m *moments) value() Value {
	if m.n == 0 {
		return Value{}
	}
	return Value{known(m.mean), known(m.deviation()), int(m.n)}
}

// change fills in b by a, where both are known.
func (r *Row) change(a, b, low, high float64) {
	if r.A.Runs == 0 || r.B.Runs == 0 {
		return
	}
	r.Change, r.Low, r.High = known(b/a-1), known(low-1), known(high-1)
}

// known makes of what cannot be said a null.
func known(v float64) *float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return nil
	}
	return &v
}

func paths(runs []*Run) []string {
	var p []string
	for _, r := range runs {
		p = append(p, r.Path)
	}
	return p
}

func notes(a, b []*Run) []string {
	n := []string{}
	if len(a) == 1 && len(b) == 1 {
		n = append(n, fmt.Sprintf("one run a side: differences between runs are not covered; ± and p are from blocks of %g s (%d) and %g s (%d)",
			a[0].seconds, len(a[0].blocks), b[0].seconds, len(b[0].blocks)))
		if min(len(a[0].blocks), len(b[0].blocks)) < minBlocks {
			n = append(n, fmt.Sprintf("too short to test: fewer than %d blocks", minBlocks))
		}
	} else if least := leastP(len(a), len(b)); least > Level {
		n = append(n, fmt.Sprintf("nothing can be shown with %d and %d runs: p is %.2g at least; 4 a side can", len(a), len(b), least))
	}
	for _, r := range slices.Concat(a, b) {
		if r.Setup.lost > 0 {
			n = append(n, fmt.Sprintf("%d events were lost in %s", r.Setup.lost, r.Path))
		}
	}
	return n
}

// leastP is the least p that dealing the runs can give: that of the deal as it is, and
// of its mirror image.
func leastP(a, b int) float64 {
	p := 1 / binomial(a+b, a)
	if a == b {
		p *= 2
	}
	return p
}
