package hook

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"
)

// entry is a hook as a file of --hooks has it.
type entry struct {
	Py       string   `yaml:"py"`
	C        string   `yaml:"c"`
	Name     string   `yaml:"name"`
	Args     []string `yaml:"args"`
	Result   string   `yaml:"result"`
	Duration *bool    `yaml:"duration"`
	Process  string   `yaml:"process"`
	Rate     *int     `yaml:"rate"`
	Limit    *int     `yaml:"limit"`
}

// ReadFile reads the hooks in a YAML file.
func ReadFile(text []byte) ([]Spec, error) {
	var file struct {
		Hooks []entry `yaml:"hooks"`
	}
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(&file); err != nil && !errors.Is(err, io.EOF) {
		return nil, errors.New(strings.Join(strings.Fields(strings.TrimPrefix(err.Error(), "yaml: ")), " "))
	}
	if len(file.Hooks) == 0 {
		return nil, errors.New("it has no list `hooks`, or an empty one")
	}
	var out []Spec
	for i, e := range file.Hooks {
		s, err := e.spec()
		if err != nil {
			return nil, fmt.Errorf("hook %d: %w", i+1, err)
		}
		out = append(out, s)
	}
	return out, nil
}

func (e *entry) spec() (Spec, error) {
	text := "py:" + e.Py
	if (e.Py == "") == (e.C == "") {
		return Spec{}, errors.New("it wants either py: module:Class.method or c: libfoo.so:symbol")
	}
	if e.C != "" {
		text = "c:" + e.C
	}
	s, err := Parse(text)
	if err != nil {
		return Spec{}, err
	}
	for _, a := range e.Args {
		if err := s.argument(a); err != nil {
			return Spec{}, err
		}
	}
	return s, e.more(&s)
}

// more takes what --hook has no room for.
func (e *entry) more(s *Spec) error {
	bad := func(why, remedy string) error { return &SpecError{s.String(), why, remedy} }
	var err error
	if e.Result != "" {
		if s.Language != C {
			return bad("what a Python function returns is not read", "leave `result` out")
		}
		if s.Result, err = s.typed(e.Result); err != nil {
			return err
		}
	}
	if e.Duration != nil {
		s.Duration = e.Duration
	}
	if s.Result != "" && s.Duration != nil && !*s.Duration {
		return bad("a result cannot be had without the return", "leave `duration: false` out")
	}
	switch p := Process(e.Process); p {
	case "":
	case Engine, Worker, APIServer:
		s.Process = p
	default:
		return bad(fmt.Sprintf("%q is no process", e.Process), "there are engine, worker and api_server")
	}
	if e.Name != "" {
		if len(e.Name) > 100 || strings.ContainsFunc(e.Name, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return bad("its name is longer than 100 bytes, or no text", "give it another")
		}
		s.Name = e.Name
	}
	for _, n := range []struct {
		key  string
		from *int
		to   *int
		min  int
	}{{"rate", e.Rate, &s.Rate, 10}, {"limit", e.Limit, &s.Limit, 0}} {
		if n.from == nil {
			continue
		}
		if *n.from < n.min || *n.from > 1e9 {
			return bad(fmt.Sprintf("%s %d is out of range", n.key, *n.from), fmt.Sprintf("calls a second, at least %d", n.min))
		}
		*n.to = *n.from
	}
	return nil
}
