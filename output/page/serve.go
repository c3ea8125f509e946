package page

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/session"
)

// Handler serves the page below prefix, which ends in a slash, and to it what a session has
// of any stretch of time:
//
//	steps?engine=0&from=NS&to=NS    the steps, or buckets of them where they are many
//	rows/TABLE.csv?from=NS&to=NS    the rows of a table
//
// Nothing else is to be had, and of nobody who came by another name than this machine's
// own: what another site's page has a browser ask for is refused.
func (p *Page) Handler(dir *session.Dir, prefix string) (http.Handler, error) {
	served := *p
	served.data.Served, served.data.Tables = true, tableNames()
	var page bytes.Buffer
	if err := served.write(&page, "'self'"); err != nil {
		return nil, err
	}
	s := &server{dir: dir, page: page.Bytes(), busy: make(chan struct{}, 2)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+prefix+"{$}", s.servePage)
	mux.HandleFunc("GET "+prefix+"steps", s.serveSteps)
	mux.HandleFunc("GET "+prefix+"rows/{file}", s.serveRows)
	return guard(mux), nil
}

type server struct {
	dir  *session.Dir
	page []byte
	busy chan struct{} // so many read the tables at once
}

// begin waits until the tables may be read; false: whoever asked has gone.
func (s *server) begin(r *http.Request) bool {
	select {
	case s.busy <- struct{}{}:
		return true
	case <-r.Context().Done():
		return false
	}
}

func (s *server) end() { <-s.busy }

// guard refuses who may have been sent by a page of somebody else's.
func guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		if !ownHost(r.Host) || r.Header.Get("Sec-Fetch-Site") == "cross-site" {
			http.Error(w, "this is served to this machine alone, as 127.0.0.1 or localhost", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// ownHost reports whether a Host header names this machine and not a name that somebody
// has pointed at it.
func ownHost(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

func (s *server) servePage(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(s.page)
}

// stretch is the time that a request asks for.
func stretch(r *http.Request) (from, to int64, err error) {
	from, err = strconv.ParseInt(r.FormValue("from"), 10, 64)
	if err == nil {
		to, err = strconv.ParseInt(r.FormValue("to"), 10, 64)
	}
	if err != nil || from >= to || to-from < 0 {
		return 0, 0, errors.New("want from and to in ns since the session began, from before to")
	}
	return from, to, nil
}

func (s *server) serveSteps(w http.ResponseWriter, r *http.Request) {
	from, to, err := stretch(r)
	engine, eerr := strconv.ParseInt(r.FormValue("engine"), 10, 32)
	if err = errors.Join(err, eerr); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if !s.begin(r) {
		return
	}
	defer s.end()
	found, err := readStretch(s.dir, span{int32(engine), from, to})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(found)
}

// mostServed bounds the single steps of an answer.
const mostServed = 6000

// stretchData is what there was in a stretch of time: its steps, or buckets where they
// are too many.
type stretchData struct {
	Window   *window   `json:"window,omitempty"`
	Timeline *timeline `json:"timeline,omitempty"`
}

func readStretch(dir *session.Dir, of span) (*stretchData, error) {
	const before = int64(10e9) // a step that began so much earlier may still have run
	e := newEngine(of.from, mostBuckets)
	w := &window{Engine: of.engine, FromNS: of.from, ToNS: of.to, Other: columns{}}
	for r, err := range session.RowsWhere[record.StepRow](dir, "start_ns", within(of.from-before, of.to)) {
		switch {
		case err != nil:
			return nil, err
		case r.Engine != of.engine || r.StartNS >= of.to:
		case r.StartNS < of.from:
			e.gpu(r)
		default:
			e.step(r)
			if len(w.Start) <= mostServed {
				w.add(r)
			}
		}
	}
	if err := e.events(dir, of); err != nil {
		return nil, err
	}
	found := &stretchData{Timeline: new(e.timeline())}
	if len(w.Start) <= mostServed {
		w.Other.trim(func(string) bool { return false })
		found.Window = w
	}
	return found, nil
}

func within(from, to int64) func(low, high int64) bool {
	return func(low, high int64) bool { return high >= from && low < to }
}

// events counts what happened in a stretch beside the steps.
func (e *engine) events(dir *session.Dir, of span) error {
	wants := within(of.from, of.to)
	for r, err := range session.RowsWhere[record.KVEvictionRow](dir, "time_ns", wants) {
		if err != nil {
			return err
		}
		if r.HadHash && r.Engine == of.engine && wants(r.TimeNS, r.TimeNS) {
			e.grid.at(r.TimeNS).evicted++
		}
	}
	for r, err := range session.RowsWhere[record.PreemptionRow](dir, "time_ns", wants) {
		if err != nil {
			return err
		}
		if r.Engine == of.engine && wants(r.TimeNS, r.TimeNS) {
			e.grid.at(r.TimeNS).preempted++
		}
	}
	for _, end := range [...]struct {
		column string
		time   func(*record.RequestRow) *int64
		count  func(*bucket)
	}{
		{"arrival_ns", func(r *record.RequestRow) *int64 { return r.ArrivalNS }, func(b *bucket) { b.arrived++ }},
		{"finished_ns", func(r *record.RequestRow) *int64 { return r.FinishedNS }, func(b *bucket) { b.finished++ }},
	} {
		for r, err := range session.RowsWhere[record.RequestRow](dir, end.column, wants) {
			if err != nil {
				return err
			}
			if at := end.time(r); at != nil && r.Engine == of.engine && wants(*at, *at) {
				end.count(e.grid.at(*at))
			}
		}
	}
	return nil
}

func (s *server) serveRows(w http.ResponseWriter, r *http.Request) {
	from, to, err := stretch(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	name, ok := strings.CutSuffix(r.PathValue("file"), ".csv")
	table := rowsOf(name)
	if !ok || table == nil {
		http.Error(w, "there is no table of that name that has times: there are "+strings.Join(tableNames(), ", "), http.StatusNotFound)
		return
	}
	if !s.begin(r) {
		return
	}
	defer s.end()
	var csv bytes.Buffer
	err = table(s.dir, &csv, from, to)
	var many *tooManyError
	switch {
	case errors.As(err, &many):
		http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
	case err != nil:
		http.Error(w, err.Error(), http.StatusInternalServerError)
	default:
		w.Header().Set("Content-Type", "text/csv; charset=utf-8")
		w.Header().Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", name+".csv"))
		_, _ = w.Write(csv.Bytes())
	}
}
