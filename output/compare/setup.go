package compare

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

// Setup is what a session's metadata.json says of the server, the machine and the
// tracer.
type Setup struct {
	facts                  []fact // the same ones, in the same order, of every session
	lost                   uint64
	evictions, preemptions bool // were watched
}

type fact struct{ what, value string }

// Difference is a part of the set-up that is not the same everywhere.
type Difference struct {
	What string   `json:"what"`
	A    []string `json:"a"`
	B    []string `json:"b"`
}

type metadata struct {
	Mode     string   `json:"mode"`
	Command  []string `json:"command"`
	Versions struct {
		Pmtrace string `json:"pmtrace"`
		Kernel  string `json:"kernel"`
		Python  string `json:"python"`
		VLLM    string `json:"vllm"`
		Torch   string `json:"torch"`
		CUDA    string `json:"cuda"`
	} `json:"versions"`
	Host struct {
		Name string `json:"name"`
	} `json:"host"`
	Engines []map[string]any `json:"engines"`
	GPUs    []struct {
		Name   string   `json:"name"`
		UUID   string   `json:"uuid"`
		Driver string   `json:"driver"`
		PowerW *float64 `json:"power_limit_w"`
		MIG    bool     `json:"mig"`
	} `json:"gpus"`
	Workers []struct {
		Runner string `json:"runner"`
	} `json:"workers"`
	GPUSampling  string `json:"gpu_sampling"`
	TimingSource string `json:"forward_timing_source"`
	Preemption   bool   `json:"preemption_tracking"`
	MoE          bool   `json:"moe_expert_tracking"`
	Lost         uint64 `json:"events_lost"`
}

func readSetup(session fs.FS) (Setup, error) {
	b, err := fs.ReadFile(session, "metadata.json")
	if err != nil {
		return Setup{}, err
	}
	var m metadata
	if err := json.Unmarshal(b, &m); err != nil {
		return Setup{}, fmt.Errorf("metadata.json: %w", err)
	}
	s := Setup{lost: m.Lost, preemptions: m.Preemption}
	s.versions(&m)
	s.machine(&m)
	s.engine(&m)
	s.tell("command", strings.Join(m.Command, "\n"))
	s.tell("traced by", m.Mode)
	s.tell("gpu sampling", m.GPUSampling)
	s.tell("experts traced", fmt.Sprint(m.MoE))
	s.tell("gpu times by", m.TimingSource)
	return s, nil
}

func (s *Setup) tell(what, value string) { s.facts = append(s.facts, fact{what, value}) }

func (s *Setup) versions(m *metadata) {
	s.tell("vllm", m.Versions.VLLM)
	s.tell("torch", m.Versions.Torch)
	s.tell("cuda", m.Versions.CUDA)
	s.tell("python", m.Versions.Python)
	s.tell("kernel", m.Versions.Kernel)
	s.tell("pmtrace", m.Versions.Pmtrace)
}

func (s *Setup) machine(m *metadata) {
	s.tell("host", m.Host.Name)
	var names, cards, drivers, limits []string
	for _, g := range m.GPUs {
		name := g.Name
		if g.MIG {
			name += " (MIG)"
		}
		names, cards, drivers = append(names, name), append(cards, g.UUID), append(drivers, g.Driver)
		if g.PowerW != nil {
			limits = append(limits, fmt.Sprint(*g.PowerW))
		}
	}
	s.tell("gpu", counted(names))
	s.tell("card", strings.Join(unique(cards), ", "))
	s.tell("driver", strings.Join(unique(drivers), ", "))
	s.tell("power limit W", strings.Join(unique(limits), ", "))
}

// The limits and settings of an engine that make it another server.
var engineKeys = []string{
	"model", "model_config", "kv_cache_dtype", "scheduler", "async_scheduling", "v2_model_runner",
	"tensor_parallel", "pipeline_parallel", "data_parallel",
	"max_num_seqs", "max_num_batched_tokens", "max_model_len", "block_size", "num_gpu_blocks",
	"prefix_caching", "num_spec_tokens", "policy",
}

func (s *Setup) engine(m *metadata) {
	s.tell("engines", fmt.Sprint(len(m.Engines)))
	for _, key := range engineKeys {
		var seen []string
		for _, e := range m.Engines {
			if value, ok := e[key]; ok {
				b, err := json.Marshal(value) // keys in their order
				if err == nil {
					seen = append(seen, strings.Trim(string(b), `"`))
				}
			}
		}
		s.tell(key, strings.Join(unique(seen), ", "))
	}
	for _, e := range m.Engines {
		watches, _ := e["watches"].([]any)
		if slices.Contains(watches, any("free_blocks")) {
			s.evictions = true
		}
	}
	var runners []string
	for _, w := range m.Workers {
		if w.Runner != "" {
			runners = append(runners, w.Runner)
		}
	}
	s.tell("runner", strings.Join(unique(runners), ", "))
}

func unique(list []string) []string {
	slices.Sort(list)
	return slices.Compact(list)
}

func counted(names []string) string {
	var parts []string
	count := map[string]int{}
	for _, n := range names {
		count[n]++
	}
	for _, n := range unique(names) {
		parts = append(parts, fmt.Sprintf("%d × %s", count[n], n))
	}
	return strings.Join(parts, ", ")
}

// differences lists what is not the same in all sessions of both sides.
func differences(a, b []*Run) []Difference {
	out := []Difference{}
	for i, f := range a[0].Setup.facts {
		d := Difference{f.what, told(a, i), told(b, i)}
		if len(d.A) == 1 && slices.Equal(d.A, d.B) {
			continue
		}
		if f.what == "command" || f.what == "model_config" {
			d.A, d.B = unlike(d.A, d.B)
		}
		out = append(out, d)
	}
	return out
}

func told(runs []*Run, i int) []string {
	var values []string
	for _, r := range runs {
		values = append(values, r.Setup.facts[i].value)
	}
	return unique(values)
}

// unlike leaves of long values the parts that only some have.
func unlike(a, b []string) (onlyA, onlyB []string) {
	count := map[string]int{}
	parts := func(value string) []string {
		return unique(strings.FieldsFunc(value, func(r rune) bool { return r == '\n' || r == ',' || r == '{' || r == '}' }))
	}
	for _, value := range slices.Concat(a, b) {
		for _, p := range parts(value) {
			count[p]++
		}
	}
	rest := func(values []string) (out []string) {
		for _, value := range values {
			own := slices.DeleteFunc(parts(value), func(p string) bool { return count[p] == len(a)+len(b) })
			out = append(out, strings.Join(own, " "))
		}
		return out
	}
	return rest(a), rest(b)
}
