package main

import (
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/go-quicktest/qt"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/pmtrace/pmtrace/output/live"
)

var (
	link   = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	slugs  = regexp.MustCompile(`[^\w\- ]`)
	header = regexp.MustCompile(`(?m)^#+ (.*)$`)
)

// Links between pages, and to files and sections, lead somewhere; each page is linked to by the index.
func TestDocLinks(t *testing.T) {
	anchors := map[string][]string{}
	for _, p := range docPages(t) {
		for _, m := range header.FindAllStringSubmatch(p.prose(), -1) {
			title := slugs.ReplaceAllString(strings.ToLower(strings.ReplaceAll(m[1], "`", "")), "")
			anchors[p.path] = append(anchors[p.path], strings.ReplaceAll(title, " ", "-"))
		}
	}
	linked := map[string]bool{}
	for _, p := range docPages(t) {
		for _, m := range link.FindAllStringSubmatch(p.prose(), -1) {
			if strings.HasPrefix(m[1], "https://") {
				continue
			}
			file, anchor, _ := strings.Cut(m[1], "#")
			path := p.path
			if file != "" {
				path = filepath.Join(filepath.Dir(p.path), file)
			}
			_, err := os.Stat(path)
			qt.Check(t, qt.IsNil(err), qt.Commentf("%s links to %s", p.path, m[1]))
			if anchor != "" {
				qt.Check(t, qt.SliceContains(anchors[path], anchor), qt.Commentf("%s links to %s", p.path, m[1]))
			}
			if filepath.Base(p.path) == "README.md" {
				linked[filepath.Dir(p.path)+" to "+path] = true
			}
		}
	}
	for _, p := range docPages(t) {
		for _, index := range []string{"../..", "../../docs"} {
			if filepath.Base(p.path) != "README.md" && filepath.Base(p.path) != "threat-model.md" {
				qt.Check(t, qt.IsTrue(linked[index+" to "+p.path]), qt.Commentf("%s/README.md does not link to %s", index, p.path))
			}
		}
	}
}

// said are the commands of pmtrace that a page types, as words up to what is another program's.
func (p *docPage) said() (lines [][]string) {
	text := strings.Join(p.code(), "\n") + "\n"
	for _, b := range p.blocks() {
		text += strings.ReplaceAll(b.text(), "\\\n", " ")
	}
	for line := range strings.Lines(text) {
		at := regexp.MustCompile(`(^|[\s./(&;])pmtrace `).FindStringIndex(line)
		if at == nil {
			continue
		}
		words := strings.Fields(regexp.MustCompile(` -- |[|#;)]|&&|>|: `).Split(line[at[1]:]+" ", 2)[0])
		lines = append(lines, words)
	}
	return lines
}

// Each command and flag of pmtrace that the pages type is one.
func TestDocCommands(t *testing.T) {
	known := 0
	for _, p := range docPages(t) {
		for _, words := range p.said() {
			root := (&app{stdout: io.Discard, stderr: io.Discard, env: environment{}, world: thisMachine()}).command()
			c, rest, err := root.Find(words)
			if err != nil || c == root {
				continue // prose: "pmtrace sees"
			}
			known++
			for _, w := range rest {
				name, isFlag := strings.CutPrefix(strings.Trim(w, "'\"[]…,."), "--")
				name, _, _ = strings.Cut(name, "=")
				if isFlag && name != "" && name != "help" {
					qt.Check(t, qt.IsNotNil(c.Flags().Lookup(name)), qt.Commentf("%s: pmtrace %s", p.path, strings.Join(words, " ")))
				}
			}
		}
	}
	qt.Assert(t, qt.IsTrue(known > 60), qt.Commentf("%d", known))
}

// foreignFlags are vLLM's and other programs' that the pages name.
const foreignFlags = `
	--help --cap-add --cap-drop --compilation-config --cudagraph-metrics --enable-eplb --enable-logging-iteration-details
	--enable-mfu-metrics --enable-return-routed-experts --enforce-eager --gpu-memory-utilization --kv-cache-dtype --kv-cache-memory-bytes
	--kv-cache-metrics --long-prefill-token-threshold --max-model-len --max-num-batched-tokens --max-num-seqs
	--no-new-privileges --pid --privileged --security-opt --time --show-hidden-metrics-for-version --base-url --model --now`

// Each flag that the pages name by itself is one of pmtrace's, or listed as another's.
func TestDocFlags(t *testing.T) {
	flags := map[string]bool{}
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		c.Flags().VisitAll(func(f *pflag.Flag) { flags["--"+f.Name] = true })
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk((&app{env: environment{}, world: thisMachine()}).command())
	for _, f := range strings.Fields(foreignFlags) {
		flags[f] = true
	}
	for _, p := range docPages(t) {
		for _, code := range p.code() {
			for _, m := range regexp.MustCompile(`(?:^|[\s"'])(--[a-z][a-z0-9-]*)`).FindAllStringSubmatch(code, -1) {
				qt.Check(t, qt.IsTrue(flags[m[1]]), qt.Commentf("%s: `%s`", p.path, code))
			}
		}
	}
}

// schema are the columns of the tables, by the golden file that a test of theirs keeps true.
func schema(t *testing.T) map[string][]string {
	b, err := os.ReadFile("../../output/session/testdata/schemas.golden")
	qt.Assert(t, qt.IsNil(err))
	tables, table := map[string][]string{}, ""
	for line := range strings.Lines(string(b)) {
		if m := regexp.MustCompile(`^(\w+): \w+ \{`).FindStringSubmatch(line); m != nil {
			table = m[1]
		}
		if m := regexp.MustCompile(`^\t(?:required|optional) \w+ (\w+)`).FindStringSubmatch(line); m != nil {
			tables[table] = append(tables[table], m[1])
		}
	}
	qt.Assert(t, qt.IsTrue(len(tables) > 20))
	return tables
}

// Each table has a page that names it, and each `table.column` is one.
func TestDocColumns(t *testing.T) {
	tables := schema(t)
	named := map[string]bool{}
	for _, p := range docPages(t) {
		for _, code := range p.code() {
			named[code] = true
			for _, m := range regexp.MustCompile(`\b([a-z_]+)\.([a-z_]+)\b`).FindAllStringSubmatch(code, -1) {
				if columns, ok := tables[m[1]]; ok && !slices.Contains([]string{"md", "py", "yaml"}, m[2]) {
					qt.Check(t, qt.SliceContains(columns, m[2]), qt.Commentf("%s: `%s`", p.path, code))
				}
			}
		}
	}
	for _, table := range slices.Sorted(maps.Keys(tables)) {
		qt.Check(t, qt.IsTrue(named[table]), qt.Commentf("no page names the table %s", table))
	}
}

// words of one's own that look like a column's: settings, keys of JSON files, values, other programs'.
const otherNames = `
	block_size num_gpu_blocks prefix_caching max_num_seqs max_num_batched_tokens max_model_len
	forward_timing_source timing_sources cuda_events_enabled event_bound_check cudagraph_capture_sizes max_cudagraph_capture_size
	log_balancedness perf_event_open forward_pass kv_cache cuda_graph encoder_decoder event_bound cpu_bound gpu_sampled
	output_wait model_execution prepare_inputs forward_launch update_from_output sw_power_cap kv_blocks reset_prefix_cache llm_request
	process_vm_readv num_free_blocks prefill_delays_decode start_time process_resource_tracker idle_pct max_to_mean tokens_lost session_id pmtrace_version
	bpf_for_each_map_elem bpf_get_attach_cookie bpf_loop uprobe_multi`

// Each name in backticks with an underscore is a table, a column, a check, a finding, a question,
// a metric, or listed as something else.
func TestDocNames(t *testing.T) {
	known := map[string]bool{}
	add := func(names ...string) {
		for _, n := range names {
			known[n] = true
		}
	}
	for table, columns := range schema(t) {
		add(append(columns, table)...)
	}
	for _, m := range live.Metrics() {
		add(m.Prometheus())
	}
	sql, err := os.ReadFile("../../output/session/questions.sql")
	qt.Assert(t, qt.IsNil(err))
	for _, m := range regexp.MustCompile(`view (q_\w+)`).FindAllStringSubmatch(string(sql), -1) {
		add(m[1])
	}
	for _, m := range regexp.MustCompile(`as (\w+)`).FindAllStringSubmatch(string(sql), -1) {
		add(m[1])
	}
	add(checkIDs(t)...)
	add(ruleNames(t)...)
	for _, columns := range profilemateFiles(t) {
		add(columns...)
	}
	add(strings.Fields(otherNames)...)
	for _, p := range docPages(t) {
		for _, m := range regexp.MustCompile(`\bpmtrace(_[a-z]+)+\b`).FindAllString(p.text(), -1) {
			base := regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(m, "")
			qt.Check(t, qt.IsTrue(known[m] || known[base]), qt.Commentf("%s: %s", p.path, m))
		}
		for _, code := range p.code() {
			if regexp.MustCompile(`^[a-z0-9]+(_[a-z0-9]+)+$`).MatchString(code) {
				qt.Check(t, qt.IsTrue(known[code]), qt.Commentf("%s: `%s`", p.path, code))
			}
		}
	}
}

var row = regexp.MustCompile("(?m)^\\| `([\\w/]+\\.csv)` \\| ([^|]*) \\|")

// profilemateFiles are the columns of the CSV files, as the page on profilemate has them.
func profilemateFiles(t *testing.T) map[string][]string {
	files := map[string][]string{}
	for _, m := range row.FindAllStringSubmatch(docPageOf(t, "profilemate.md").prose(), -1) {
		files[m[1]] = strings.Split(strings.Trim(m[2], "`"), "`, `")
	}
	return files
}

// The page on profilemate has each CSV file of a session, with its very columns.
func TestDocProfilemateFiles(t *testing.T) {
	path := docSession(t, t.TempDir(), "../../e2e/gpu/testdata/h100-qwen3moe-v2")
	written := map[string][]string{}
	for _, pattern := range []string{"*.csv", "*/*.csv"} {
		names, err := filepath.Glob(filepath.Join(path, pattern))
		qt.Assert(t, qt.IsNil(err))
		for _, name := range names {
			b, err := os.ReadFile(name)
			qt.Assert(t, qt.IsNil(err))
			header, _, _ := strings.Cut(string(b), "\n")
			written[strings.TrimPrefix(name, path+"/")] = strings.Split(strings.TrimSpace(header), ",")
		}
	}
	qt.Check(t, qt.DeepEquals(profilemateFiles(t), written))
}
