package report

import (
	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/session"
)

// Slowest finds the n slowest requests, and says how many there are in all.
func Slowest(dir *session.Dir, by string, n int, limits map[int32]Limits) (list []Request, all int, err error) {
	s, err := Choose(dir, []string{by}, n)
	if err != nil {
		return nil, 0, err
	}
	if err := session.Visit(dir, s.Visitor()); err != nil {
		return nil, 0, err
	}
	lists, err := s.Explain(dir, limits)
	return lists[by], s.All, err
}

// Slow are the slowest requests in some orders, while it is found out where their time
// went: in a pass over the tables that others may share, and from step_requests.
type Slow struct {
	All     int // requests of the session
	chosen  []*chosen
	reading *reading
}

// Choose finds them.
func Choose(dir *session.Dir, orders []string, n int) (*Slow, error) {
	slowest, all, err := choose(session.Rows[record.RequestRow](dir), orders, n)
	if err != nil {
		return nil, err
	}
	seen := map[int64]bool{}
	var lives []*life
	for _, c := range slowest {
		for i := range c.list {
			if r := &c.list[i]; !seen[r.RequestUID] {
				seen[r.RequestUID] = true
				lives = append(lives, newLife(r))
			}
		}
	}
	return &Slow{all, slowest, newReading(lives)}, nil
}

// Visitor sees the rows that concern them.
func (s *Slow) Visitor() session.Visitor { return s.reading.visitor() }

// Explain says where their time went once the pass is over: for each order its requests,
// the slowest first.
func (s *Slow) Explain(dir *session.Dir, limits map[int32]Limits) (map[string][]Request, error) {
	if err := s.reading.finish(dir); err != nil {
		return nil, err
	}
	requests := map[int64]Request{}
	for uid, l := range s.reading.byUID {
		requests[uid] = l.request(l.cut(limits[l.row.Engine]))
	}
	lists := map[string][]Request{}
	for _, c := range s.chosen {
		lists[c.by] = []Request{}
		for i := range c.list {
			lists[c.by] = append(lists[c.by], requests[c.list[i].RequestUID])
		}
	}
	return lists, nil
}
