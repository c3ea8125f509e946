package target

import (
	"strings"
	"testing"

	"github.com/go-quicktest/qt"
)

func TestRedact(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"vllm|serve|m|--api-key|s3|--port|1", "vllm|serve|m|--api-key|***|--port|1"},
		{"--api-key|s3|s4|--port|1", "--api-key|***|***|--port|1"},
		{"--api_key=s3", "--api_key=***"},
		{"--hf-token|s3", "--hf-token|***"},
		{"--ssl-keyfile-password=s3", "--ssl-keyfile-password=***"},
		{"--client-secret|s3", "--client-secret|***"},
		{"--tokenizer|org/t|--max-num-batched-tokens|8192", "--tokenizer|org/t|--max-num-batched-tokens|8192"},
		{"--enable-prompt-tokens-details|m", "--enable-prompt-tokens-details|m"},
		{"env|HF_TOKEN=s3|vllm", "env|HF_TOKEN=***|vllm"},
		{"sh|-c|HF_TOKEN=s3 vllm serve m --api-key s4 --port 1", "sh|-c|HF_TOKEN=*** vllm serve m --api-key *** --port 1"},
		{"sh|-c|vllm serve m --api-key='s 4' x", "sh|-c|vllm serve m --api-key=*** x"},
		{`--hf-overrides|{"auth_token": "s3", "rope": "x"}`, `--hf-overrides|{"auth_token": "***", "rope": "x"}`},
		{"--proxy|http://u:pw@host/x", "--proxy|http://u:***@host/x"},
		{"x|hf_abcdefghijklmnopqrstuvwx", "x|***"},
		{"x|sk-abcdefghijklmnopqrstuvwx", "x|***"},
	} {
		got := strings.Join(Redact(strings.Split(c.in, "|")), "|")
		qt.Check(t, qt.Equals(got, c.want))
	}
}

func FuzzRedact(f *testing.F) {
	f.Add("--api-key")
	f.Fuzz(func(t *testing.T, s string) {
		got := Redact([]string{"--api-key", s})
		if len(s) > 3 && !strings.HasPrefix(s, "-") && got[1] != redacted {
			t.Fatalf("%q", got)
		}
	})
}
