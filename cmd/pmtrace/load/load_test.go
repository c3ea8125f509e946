package load

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/go-quicktest/qt"
)

// api is a server that answers as vLLM does.
type api struct {
	mu       sync.Mutex
	lengths  [][2]int // prompt, asked
	atOnce   int
	most     int
	cut      bool // streams end early
	refuse   bool
	slow     time.Duration
	noTokens bool
}

func (a *api) start(t *testing.T) *Server {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("/health", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/v1/models", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer secret" {
			http.Error(w, "no key", http.StatusUnauthorized)
			return
		}
		fmt.Fprint(w, `{"data":[{"id":"m"}]}`)
	})
	mux.HandleFunc("/tokenize", func(w http.ResponseWriter, _ *http.Request) {
		if a.noTokens {
			http.NotFound(w, nil)
			return
		}
		fmt.Fprint(w, `{"tokens":[5,9,5,7,-1],"count":5}`)
	})
	mux.HandleFunc("/v1/completions", a.complete)
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return NewServer(s.URL+"/", "secret")
}

func (a *api) complete(w http.ResponseWriter, r *http.Request) {
	var q struct {
		Model  string `json:"model"`
		Prompt []int  `json:"prompt"`
		Max    int    `json:"max_tokens"`
	}
	if json.NewDecoder(r.Body).Decode(&q) != nil || q.Model != "m" || a.refuse {
		http.Error(w, "not\nnow", http.StatusServiceUnavailable)
		return
	}
	a.mu.Lock()
	a.lengths = append(a.lengths, [2]int{len(q.Prompt), q.Max})
	a.atOnce++
	a.most = max(a.most, a.atOnce)
	a.mu.Unlock()
	defer func() {
		a.mu.Lock()
		a.atOnce--
		a.mu.Unlock()
	}()
	for i := range q.Max {
		time.Sleep(a.slow)
		finish := "null"
		if i == q.Max-1 {
			if a.cut {
				return
			}
			finish = `"length"`
		}
		fmt.Fprintf(w, "data: {\"id\":\"r\",\"choices\":[{\"text\":\"x\",\"finish_reason\":%s}],\"usage\":null}\n\n", finish)
		w.(http.Flusher).Flush()
	}
	fmt.Fprintf(w, "data: {\"id\":\"r\",\"choices\":[],\"usage\":{\"prompt_tokens\":%d,\"completion_tokens\":%d}}\n\ndata: [DONE]\n\n", len(q.Prompt), q.Max)
}

func run(t *testing.T, a *api, p Plan) *Result {
	t.Helper()
	s := a.start(t)
	qt.Assert(t, qt.IsNil(s.Ready(t.Context())))
	qt.Assert(t, qt.IsNil(s.Look(t.Context())))
	qt.Assert(t, qt.Equals(s.Model(), "m"))
	qt.Assert(t, qt.DeepEquals(s.tokens, []int{5, 7, 9}))
	r, err := Run(t.Context(), s, p)
	qt.Assert(t, qt.IsNil(err))
	return r
}

func TestClosedLoad(t *testing.T) {
	a := &api{slow: time.Millisecond}
	r := run(t, a, Plan{Concurrency: 4, Requests: 21, Prompt: Span{3, 9}, Output: Span{2, 5}, Seed: 7})
	f := r.Figures()
	qt.Check(t, qt.Equals(f.Requests, 21))
	qt.Check(t, qt.Equals(f.Failed, 0), qt.Commentf("%s", f.FirstError))
	qt.Check(t, qt.Equals(a.most, 4))
	prompt, output := 0, 0
	for _, l := range a.lengths {
		qt.Check(t, qt.IsTrue(l[0] >= 3 && l[0] <= 9 && l[1] >= 2 && l[1] <= 5), qt.Commentf("%v", l))
		prompt, output = prompt+l[0], output+l[1]
	}
	qt.Check(t, qt.Equals(f.PromptTokens, prompt))
	qt.Check(t, qt.Equals(f.OutputTokens, output))
	seen := map[int]bool{}
	for _, q := range r.Requests {
		qt.Check(t, qt.IsTrue(q.Sent <= q.First && q.First < q.Last), qt.Commentf("%+v", q))
		qt.Check(t, qt.Equals(q.Output, q.Asked))
		qt.Check(t, qt.Equals(q.Finish, "length"))
		qt.Check(t, qt.IsFalse(seen[q.N]))
		seen[q.N] = true
	}
	qt.Check(t, qt.IsTrue(f.PerToken.P50 >= time.Millisecond && f.PerToken.P50 <= f.PerToken.P99))
}

// Two loads of one seed ask the same; at a rate, on average as often as it says.
func TestSeed(t *testing.T) {
	draw := func(seed uint64) []ask {
		a := newAsks(&Plan{Requests: 2000, Rate: 4, Prompt: Span{1, 9}, Output: Span{1, 99}, Seed: seed}, []int{1, 2, 3})
		var out []ask
		for q := a.next(); q != nil; q = a.next() {
			out = append(out, *q)
		}
		return out
	}
	one := draw(1)
	qt.Assert(t, qt.HasLen(one, 2000))
	qt.Check(t, qt.IsTrue(reflect.DeepEqual(one, draw(1))))
	qt.Check(t, qt.IsFalse(reflect.DeepEqual(one, draw(2))))
	sum := time.Duration(0)
	for _, q := range one {
		sum += q.after
	}
	mean := sum.Seconds() / 2000
	qt.Check(t, qt.IsTrue(mean > 0.22 && mean < 0.28), qt.Commentf("%f", mean))
}

func TestTimeEndsALoad(t *testing.T) {
	a := &api{slow: 5 * time.Millisecond}
	r := run(t, a, Plan{Concurrency: 2, Time: 60 * time.Millisecond, Prompt: Span{1, 1}, Output: Span{4, 4}})
	f := r.Figures()
	qt.Check(t, qt.IsTrue(f.Requests >= 2), qt.Commentf("%+v", f))
	qt.Check(t, qt.Equals(f.Failed, 0)) // what had begun went on to its end
}

func TestRateIsKept(t *testing.T) {
	a := &api{}
	r := run(t, a, Plan{Concurrency: 64, Rate: 200, Requests: 40, Prompt: Span{1, 1}, Output: Span{1, 1}})
	last := time.Duration(0)
	for _, q := range r.Requests {
		last = max(last, q.Sent)
	}
	qt.Check(t, qt.IsTrue(last > 80*time.Millisecond), qt.Commentf("%v", last)) // 200 ms on average
}

func TestFailures(t *testing.T) {
	plan := Plan{Concurrency: 2, Requests: 4, Prompt: Span{1, 1}, Output: Span{2, 2}}
	f := run(t, &api{refuse: true}, plan).Figures()
	qt.Check(t, qt.Equals(f.Failed, 4))
	qt.Check(t, qt.Equals(f.FirstError, "HTTP status 503 Service Unavailable: not now"))
	f = run(t, &api{cut: true}, plan).Figures()
	qt.Check(t, qt.Equals(f.Failed, 4))
	qt.Check(t, qt.Equals(f.FirstError, "the stream ended before the request did"))

	s := (&api{noTokens: true}).start(t)
	qt.Check(t, qt.ErrorMatches(s.Look(t.Context()), `tokens to make prompts of \(/tokenize\): HTTP status 404.*`))
	s.Key = "wrong"
	qt.Check(t, qt.ErrorMatches(s.Look(t.Context()), "which models it serves: HTTP status 401.*"))
	nobody := NewServer("http://127.0.0.1:1", "")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	qt.Check(t, qt.ErrorMatches(nobody.Ready(ctx), ".*refused"))
}

func TestSpan(t *testing.T) {
	for text, want := range map[string]Span{"5": {5, 5}, "5:5": {5, 5}, "1:1048576": {1, 1 << 20}} {
		var s Span
		qt.Check(t, qt.IsNil(s.Set(text)), qt.Commentf("%s", text))
		qt.Check(t, qt.Equals(s, want))
	}
	for _, text := range []string{"", "0", "-1", "5:4", "a", "1:b", "1:2:3", "1048577"} {
		qt.Check(t, qt.IsNotNil(new(Span).Set(text)), qt.Commentf("%s", text))
	}
}

func TestPlan(t *testing.T) {
	good := Plan{Concurrency: 1, Requests: 1}
	qt.Check(t, qt.IsNil(good.Validate()))
	for _, p := range []Plan{{}, {Concurrency: 1}, {Concurrency: 5000, Requests: 1}, {Concurrency: 1, Requests: -1}, {Concurrency: 1, Requests: 1, Rate: -1}} {
		qt.Check(t, qt.IsNotNil(p.Validate()), qt.Commentf("%+v", p))
	}
}

func TestPercentiles(t *testing.T) {
	qt.Check(t, qt.Equals(percentiles(nil), Percentiles{}))
	var v []time.Duration
	for i := range 100 {
		v = append(v, time.Duration(100-i))
	}
	qt.Check(t, qt.Equals(percentiles(v), Percentiles{50, 50, 90, 99}))
}
