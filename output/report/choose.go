package report

import (
	"cmp"
	"fmt"
	"iter"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/session"
)

// Orders that Slowest knows.
const (
	ByTotal = "total"
	ByTTFT  = "ttft"
	ByTPOT  = "tpot"
	ByQueue = "queue"
)

// Orders are all of them.
func Orders() []string { return []string{ByTotal, ByTTFT, ByTPOT, ByQueue} }

// key is what a request is ordered by; ok: it is known.
func key(r *record.RequestRow, by string) (ns int64, ok bool) {
	var v *int64
	switch by {
	case ByTTFT:
		v = ttft(r)
	case ByTPOT:
		v = tpot(r)
	case ByQueue:
		v = r.QueueNS
	default:
		v = between(r.ArrivalNS, r.FinishedNS)
	}
	if v == nil {
		return 0, false
	}
	return *v, true
}

func ttft(r *record.RequestRow) *int64 { return between(r.ArrivalNS, r.FirstTokNS) }

// tpot is the mean time to each token after the first.
func tpot(r *record.RequestRow) *int64 {
	if r.DecodeNS == nil || r.OutputTokens == nil || *r.OutputTokens < 2 {
		return nil
	}
	return new(*r.DecodeNS / int64(*r.OutputTokens-1))
}

func between(from, to *int64) *int64 {
	if from == nil || to == nil {
		return nil
	}
	return new(*to - *from)
}

// chosen keeps the n requests that are slowest in an order.
type chosen struct {
	by   string
	n    int
	list []record.RequestRow
	bar  int64 // what is below is not among them
}

func newChosen(by string, n int) *chosen { return &chosen{by: by, n: n, bar: math.MinInt64} }

func (c *chosen) add(r *record.RequestRow) {
	if v, ok := key(r, c.by); !ok || v < c.bar {
		return
	}
	c.list = append(c.list, *r)
	if len(c.list) >= 2*c.n+64 {
		c.cut()
		c.bar, _ = key(&c.list[c.n-1], c.by)
	}
}

// cut leaves the slowest of them, in order.
func (c *chosen) cut() {
	slices.SortFunc(c.list, func(a, b record.RequestRow) int {
		x, _ := key(&a, c.by)
		y, _ := key(&b, c.by)
		return cmp.Or(cmp.Compare(y, x), cmp.Compare(a.RequestUID, b.RequestUID))
	})
	c.list = c.list[:min(c.n, len(c.list))]
}

// choose finds the slowest n requests of each order, and counts all.
func choose(rows iter.Seq2[*record.RequestRow, error], orders []string, n int) (slowest []*chosen, all int, err error) {
	for _, by := range orders {
		slowest = append(slowest, newChosen(by, n))
	}
	for r, err := range rows {
		if err != nil {
			return nil, 0, err
		}
		all++
		for _, c := range slowest {
			c.add(r)
		}
	}
	for _, c := range slowest {
		c.cut()
	}
	return slowest, all, nil
}

// NotFoundError says that no request is called so.
type NotFoundError struct {
	ID       string
	Requests int // in the session
}

func (e *NotFoundError) Error() string {
	return fmt.Sprintf("none of its %d requests is called %q", e.Requests, e.ID)
}

// AmbiguousError says that several are.
type AmbiguousError struct {
	ID    string
	Count int
	Some  []string // the first of them, as "uid id"
}

func (e *AmbiguousError) Error() string {
	return fmt.Sprintf("%d requests are called %q: %s", e.Count, e.ID, strings.Join(e.Some, ", "))
}

// find looks for the request with this id: the engine's, the client's, a uid, or the
// beginning of the first two. What is exact goes before what only begins so.
func find(rows iter.Seq2[*record.RequestRow, error], id string) (*record.RequestRow, error) {
	const shown = 3
	uid, notUID := strconv.ParseInt(id, 10, 64)
	best := 0
	all := 0
	var found record.RequestRow
	ambiguous := AmbiguousError{ID: id}
	for r, err := range rows {
		if err != nil {
			return nil, err
		}
		all++
		fit := 0
		switch {
		case r.RequestID == id || r.ExternalID == id:
			fit = 3
		case notUID == nil && r.RequestUID == uid:
			fit = 2
		case id != "" && (strings.HasPrefix(r.RequestID, id) || strings.HasPrefix(r.ExternalID, id)):
			fit = 1
		}
		if fit == 0 || fit < best {
			continue
		}
		if fit > best {
			best, found, ambiguous = fit, *r, AmbiguousError{ID: id}
		}
		ambiguous.Count++
		if len(ambiguous.Some) < shown {
			ambiguous.Some = append(ambiguous.Some, fmt.Sprintf("%d (%s)", r.RequestUID, r.ExternalID))
		}
	}
	switch ambiguous.Count {
	case 0:
		return nil, &NotFoundError{id, all}
	case 1:
		return &found, nil
	}
	return nil, &ambiguous
}

// names looks up the clients' ids of requests.
func names(dir *session.Dir, uids map[int64]string) error {
	for r, err := range session.Rows[record.RequestRow](dir) {
		if err != nil {
			return err
		}
		if _, ok := uids[r.RequestUID]; ok {
			uids[r.RequestUID] = r.ExternalID
		}
	}
	return nil
}
