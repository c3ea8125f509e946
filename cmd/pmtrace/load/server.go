package load

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Server is a server of the OpenAI API.
type Server struct {
	URL string // without a path: http://127.0.0.1:8000
	Key string // of the API; "": none

	client http.Client
	model  string
	tokens []int
}

// NewServer is a server at an address such as http://127.0.0.1:8000.
func NewServer(url, key string) *Server {
	t := &http.Transport{MaxIdleConnsPerHost: MaxConcurrency, IdleConnTimeout: time.Minute} // no proxy
	return &Server{URL: strings.TrimRight(url, "/"), Key: key, client: http.Client{Transport: t}}
}

// Bounds of what is read of an answer.
const (
	maxAnswer = 16 << 20
	maxLine   = 1 << 20
)

// Ready waits until the server answers.
func (s *Server) Ready(ctx context.Context) error {
	for {
		err := s.get(ctx, "/health", nil)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s/health: %w", s.URL, err)
		case <-time.After(250 * time.Millisecond):
		}
	}
}

// Model is the name of the first model that it serves.
func (s *Server) Model() string { return s.model }

// Look asks what the server serves, and for tokens to make prompts of.
func (s *Server) Look(ctx context.Context) error {
	var models struct {
		Data []struct {
			ID string `json:"id"`
		} `json:"data"`
	}
	if err := s.get(ctx, "/v1/models", &models); err != nil {
		return fmt.Errorf("which models it serves: %w", err)
	}
	if len(models.Data) == 0 || models.Data[0].ID == "" {
		return errors.New("it serves no model")
	}
	s.model = models.Data[0].ID
	var answer struct {
		Tokens []int `json:"tokens"`
	}
	err := s.post(ctx, "/tokenize", map[string]any{"model": s.model, "prompt": words, "add_special_tokens": false}, &answer)
	if err != nil {
		return fmt.Errorf("tokens to make prompts of (/tokenize): %w", err)
	}
	slices.Sort(answer.Tokens)
	s.tokens = slices.DeleteFunc(slices.Compact(answer.Tokens), func(t int) bool { return t < 0 })
	if len(s.tokens) < 2 {
		return errors.New("/tokenize gave too few tokens to make prompts of")
	}
	return nil
}

// words are what prompts are made of, once they are tokens, in another order each time.
const words = `The quick brown fox jumps over the lazy dog while seventeen old engineers measure how long each
token takes: 0123456789 milliseconds, (or) fewer; nobody knows! "Why?" asked Zoë. A server reads weights, writes
keys and values into pages of memory, samples, and begins anew. Batches grow; queues shrink. x = f(y) + 3.14 * z[42].`

func (s *Server) get(ctx context.Context, path string, into any) error {
	return s.do(ctx, http.MethodGet, path, nil, into)
}

func (s *Server) post(ctx context.Context, path string, body, into any) error {
	return s.do(ctx, http.MethodPost, path, body, into)
}

func (s *Server) do(ctx context.Context, method, path string, body, into any) error {
	r, err := s.send(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	b, err := io.ReadAll(io.LimitReader(r.Body, maxAnswer))
	if err != nil || into == nil {
		return err
	}
	return json.Unmarshal(b, into)
}

// send returns an answer of status 200, whose body is the caller's to close.
func (s *Server) send(ctx context.Context, method, path string, body any) (*http.Response, error) {
	var b []byte
	if body != nil {
		var err error
		if b, err = json.Marshal(body); err != nil {
			return nil, err
		}
	}
	q, err := http.NewRequestWithContext(ctx, method, s.URL+path, bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	q.Header.Set("Content-Type", "application/json")
	if s.Key != "" {
		q.Header.Set("Authorization", "Bearer "+s.Key)
	}
	r, err := s.client.Do(q)
	if err != nil {
		return nil, err
	}
	if r.StatusCode == http.StatusOK {
		return r, nil
	}
	defer r.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(r.Body, 300))
	return nil, &StatusError{r.StatusCode, strings.Join(strings.Fields(string(text)), " ")}
}

// StatusError is an answer that is a refusal.
type StatusError struct {
	Status int
	Text   string
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("HTTP status %d %s: %s", e.Status, http.StatusText(e.Status), e.Text)
}

// chunk is one event of a completion's stream.
type chunk struct {
	ID      string `json:"id"`
	Choices []struct {
		FinishReason *string `json:"finish_reason"`
	} `json:"choices"`
	Usage *struct {
		Prompt     int `json:"prompt_tokens"`
		Completion int `json:"completion_tokens"`
	} `json:"usage"`
	Error json.RawMessage `json:"error"`
}

// complete sends a request and follows its stream to the end.
func (s *Server) complete(ctx context.Context, q *ask, now func() time.Duration) Request {
	r := Request{N: q.n, Asked: q.output, Sent: now()}
	if err := s.stream(ctx, q, &r, now); err != nil {
		r.Error = err.Error()
	}
	return r
}

func (s *Server) stream(ctx context.Context, q *ask, r *Request, now func() time.Duration) error {
	answer, err := s.send(ctx, http.MethodPost, "/v1/completions", map[string]any{
		"model": s.model, "prompt": q.prompt, "max_tokens": q.output, "ignore_eos": true, "temperature": 0,
		"stream": true, "stream_options": map[string]bool{"include_usage": true},
	})
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	lines := bufio.NewScanner(answer.Body)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		data, ok := bytes.CutPrefix(lines.Bytes(), []byte("data: "))
		if !ok || bytes.Equal(data, []byte("[DONE]")) {
			continue
		}
		var c chunk
		if err := json.Unmarshal(data, &c); err != nil {
			return fmt.Errorf("an event of the stream: %w", err)
		}
		if len(c.Error) > 0 {
			return fmt.Errorf("the stream ended with %.200s", c.Error)
		}
		r.note(&c, now())
	}
	if err := lines.Err(); err != nil {
		return err
	}
	if r.Finish == "" {
		return errors.New("the stream ended before the request did")
	}
	return nil
}

func (r *Request) note(c *chunk, at time.Duration) {
	r.ID = c.ID
	if len(c.Choices) > 0 {
		if r.First == 0 {
			r.First = at
		}
		r.Last = at
		if f := c.Choices[0].FinishReason; f != nil {
			r.Finish = *f
		}
	}
	if c.Usage != nil {
		r.Prompt, r.Output = c.Usage.Prompt, c.Usage.Completion
	}
}
