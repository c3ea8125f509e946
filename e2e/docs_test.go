//go:build e2e

package e2e

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// What the guides say of vLLM is there: its metrics and its flags, by name, in the version that is
// tested. Older ones lack some.
func TestDocsNameRealThings(t *testing.T) {
	const version = "0.32.0"
	if v := os.Getenv("PMTRACE_E2E_VLLM"); v != "" && v != version {
		t.Skip("the guides are of vLLM " + version)
	}
	places, err := filepath.Glob(filepath.Join(cacheDir(t), "vllm-"+version, "lib", "python3*", "site-packages", "vllm"))
	if err != nil || len(places) != 1 {
		t.Fatal(places, err)
	}
	var text strings.Builder
	err = filepath.WalkDir(places[0], func(path string, d fs.DirEntry, err error) error {
		inside := strings.TrimPrefix(path, places[0])
		metrics := strings.Contains(inside, "metrics") || strings.Contains(inside, "arg_utils") || strings.Contains(inside, "/config/")
		if err != nil || d.IsDir() || !metrics || filepath.Ext(path) != ".py" {
			return err
		}
		source, err := os.ReadFile(path)
		text.Write(source)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	source := text.String()
	pages, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, path := range append(pages, "../README.md") {
		page, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`vllm:(\w+)`).FindAllStringSubmatch(string(page), -1) {
			names["vllm:"+strings.TrimSuffix(m[1], "_total")] = true
		}
		for _, m := range regexp.MustCompile("`(--[a-z-]+)").FindAllStringSubmatch(string(page), -1) {
			if slices.Contains(vllmFlags(), m[1]) {
				names[`"`+m[1]+`"`] = true
			}
		}
	}
	for name := range names {
		if !strings.Contains(source, name) {
			t.Errorf("vLLM %s has no %s, which docs/ names", version, name)
		}
	}
	if len(names) < 40 {
		t.Errorf("only %d names", len(names))
	}
}

// vllmFlags are those of vLLM that the guides name.
func vllmFlags() []string {
	return []string{
		"--compilation-config", "--cudagraph-metrics", "--enable-eplb", "--enable-logging-iteration-details", "--enable-mfu-metrics",
		"--enforce-eager", "--gpu-memory-utilization", "--kv-cache-dtype", "--kv-cache-memory-bytes", "--kv-cache-metrics",
		"--long-prefill-token-threshold", "--max-model-len", "--max-num-batched-tokens", "--max-num-seqs",
	}
}
