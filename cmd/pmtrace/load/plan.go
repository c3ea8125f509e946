package load

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"
)

// Plan is the load to make.
type Plan struct {
	Concurrency int           // clients; with a Rate, requests in flight at most
	Rate        float64       // requests/s on average, at random times (a Poisson process); 0: each client goes on at once
	Requests    int           // sends no more than these; 0: no limit
	Time        time.Duration // sends no more after it; 0: no limit
	Prompt      Span          // tokens
	Output      Span          // tokens
	Seed        uint64        // two runs with the same plan ask the same
}

// Validate says what is wrong with a plan.
func (p *Plan) Validate() error {
	switch {
	case p.Concurrency < 1 || p.Concurrency > MaxConcurrency:
		return fmt.Errorf("a concurrency of %d: want 1 to %d", p.Concurrency, MaxConcurrency)
	case p.Rate < 0 || p.Rate > 1e6:
		return fmt.Errorf("a rate of %g requests/s: want 0 to a million", p.Rate)
	case p.Requests < 0:
		return errors.New("a negative number of requests")
	case p.Requests == 0 && p.Time <= 0:
		return errors.New("neither a number of requests nor a time: it would not end")
	}
	return nil
}

// MaxConcurrency is the largest number of clients.
const MaxConcurrency = 4096

// Span is a range of numbers, both ends included: a number in it is drawn for
// each request.
type Span struct{ Low, High int }

const maxTokens = 1 << 20

// Set reads "128" or "64:512".
func (s *Span) Set(text string) error {
	low, high, ranged := strings.Cut(text, ":")
	if !ranged {
		high = low
	}
	l, lerr := strconv.Atoi(low)
	h, herr := strconv.Atoi(high)
	if lerr != nil || herr != nil || l < 1 || h < l || h > maxTokens {
		return errors.New("want a number of tokens, or a range such as 64:512")
	}
	*s = Span{l, h}
	return nil
}

// Type names the value in a command's help.
func (s *Span) Type() string { return "N|LOW:HIGH" }

func (s *Span) String() string {
	if s.Low == s.High {
		return strconv.Itoa(s.Low)
	}
	return fmt.Sprintf("%d:%d", s.Low, s.High)
}

func (s *Span) draw(r *rand.Rand) int { return s.Low + r.IntN(s.High-s.Low+1) }

// ask is one request to be sent.
type ask struct {
	n      int
	prompt []int // tokens
	output int
	after  time.Duration // with a rate: since the request before
}

// asks draws requests, one after the other.
type asks struct {
	plan   *Plan
	tokens []int // to make prompts of
	rng    *rand.Rand
	n      int
}

func newAsks(p *Plan, tokens []int) *asks {
	return &asks{plan: p, tokens: tokens, rng: rand.New(rand.NewPCG(p.Seed, 0))}
}

// next is nil where there are enough.
func (a *asks) next() *ask {
	if a.plan.Requests > 0 && a.n == a.plan.Requests {
		return nil
	}
	q := &ask{n: a.n, prompt: make([]int, a.plan.Prompt.draw(a.rng)), output: a.plan.Output.draw(a.rng)}
	a.n++
	for i := range q.prompt {
		q.prompt[i] = a.tokens[a.rng.IntN(len(a.tokens))]
	}
	if a.plan.Rate > 0 {
		q.after = time.Duration(a.rng.ExpFloat64() / a.plan.Rate * float64(time.Second))
	}
	return q
}
