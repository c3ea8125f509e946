//go:build e2e

package e2e

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/pmtrace/pmtrace/output/journal"
)

// planted is a text that a client sent or got, in the forms in which memory may have it.
type planted struct {
	what  string
	forms [][]byte
}

func plant(what, text string) planted {
	var wide, wider []byte
	for _, u := range utf16.Encode([]rune(text)) {
		wide = binary.LittleEndian.AppendUint16(wide, u)
	}
	for _, r := range text {
		wider = binary.LittleEndian.AppendUint32(wider, uint32(r))
	}
	return planted{what, [][]byte{[]byte(text), wide, wider}}
}

// plantTokens is a list of token ids: as arrays have it, and as JSON.
func plantTokens(what string, tokens []int64) planted {
	var narrow, wide, text []byte
	for i, n := range tokens {
		narrow = binary.LittleEndian.AppendUint32(narrow, uint32(n))
		wide = binary.LittleEndian.AppendUint64(wide, uint64(n))
		if i > 0 {
			text = append(text, ',')
		}
		text = fmt.Append(text, n)
	}
	return planted{what, [][]byte{narrow, wide, text}}
}

func (p planted) in(data []byte) bool {
	for _, form := range p.forms {
		if bytes.Contains(data, form) {
			return true
		}
	}
	return false
}

// secrets: a client's prompt, its tokens and the answer are nowhere in pmtrace's memory, nor
// in what it writes; the request's id, which is traced, is in both.
func secrets(t *testing.T, s *server) {
	s = s.in(t)
	var random [12]byte
	_, _ = rand.Read(random[:])
	id := "planted-" + hex.EncodeToString(random[:4])
	prompt := "the secret of " + hex.EncodeToString(random[:]) + " is not for anybody's eyes"
	tr := s.attach(t)
	var tokens struct{ Tokens []int64 }
	s.post(t, "/tokenize", "", map[string]any{"model": "tiny", "prompt": prompt}, &tokens)
	var answer struct{ Choices []struct{ Text string } }
	for range 3 {
		s.post(t, "/v1/completions", id, map[string]any{
			"model": "tiny", "prompt": prompt, "max_tokens": 40, "temperature": 0, "ignore_eos": true,
		}, &answer)
	}
	if len(tokens.Tokens) < 8 || len(answer.Choices) == 0 || len(answer.Choices[0].Text) < 16 {
		t.Fatalf("the server answers %v, %v", tokens, answer)
	}
	s.settle()
	known := plant("the request's id", id)
	hidden := []planted{
		plant("the prompt", prompt), plant("a part of the prompt", prompt[14:30]),
		plant("the answer", answer.Choices[0].Text), plant("the answer's beginning", answer.Choices[0].Text[:16]),
		plantTokens("the prompt's tokens", tokens.Tokens[:8]), plantTokens("the prompt's last tokens", tokens.Tokens[len(tokens.Tokens)-8:]),
	}
	look := func(where string, each func(func(name string, data []byte))) {
		found, size := false, 0
		each(func(name string, data []byte) {
			size += len(data)
			found = found || known.in(data)
			for _, p := range hidden {
				if p.in(data) {
					t.Errorf("%s has %s (%s)", where, p.what, name)
				}
			}
		})
		if !found { // then the search itself is no good
			t.Errorf("%s has not even %s", where, known.what)
		}
		t.Logf("%s: %d bytes searched", where, size)
	}
	look("pmtrace's memory", func(f func(string, []byte)) { memoryOf(t, tr.cmd.Process.Pid, f) })
	tr.stop(t, 0)
	look("the session", func(f func(string, []byte)) { filesOf(t, tr.session(t), f) })
	look("the journal", func(f func(string, []byte)) { payloadsOf(t, tr.session(t), f) })
}

func (s *server) post(t *testing.T, path, id string, body, into any) {
	t.Helper()
	data, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequest(http.MethodPost, s.url+path, bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	if id != "" {
		request.Header.Set("X-Request-Id", id)
	}
	resp, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode == http.StatusOK {
		err = json.Unmarshal(text, into)
	}
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s %v: %s", path, resp.Status, err, text)
	}
}

// memoryOf hands on all that a process has mapped and that can be read.
func memoryOf(t *testing.T, pid int, f func(name string, data []byte)) {
	t.Helper()
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		t.Fatal(err)
	}
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	for line := range strings.Lines(string(maps)) {
		var from, to int64
		var mode string
		if _, err := fmt.Sscanf(line, "%x-%x %s", &from, &to, &mode); err != nil || mode[0] != 'r' || to < from {
			continue
		}
		data := make([]byte, to-from)
		n, _ := mem.ReadAt(data, from) // a ring's guard pages cannot be
		f(strings.TrimSpace(line), data[:n])
	}
}

func filesOf(t *testing.T, dir string, f func(name string, data []byte)) {
	t.Helper()
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := os.ReadFile(filepath.Join(dir, name))
		f(name, data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// payloadsOf hands on what is in a journal, which is compressed.
func payloadsOf(t *testing.T, dir string, f func(name string, data []byte)) {
	t.Helper()
	r, err := journal.Open(os.DirFS(filepath.Join(dir, "journal")))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		f("record", rec.Payload)
	}
}
