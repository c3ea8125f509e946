package main

import (
	"encoding/json"
	"errors"
	"os"
)

// summary is what one comparison came to, for programs.
type summary struct {
	Name        string   `json:"name"`
	VLLM        string   `json:"vllm"`
	Python      string   `json:"python"`
	Steps       int      `json:"steps"`
	Requests    int      `json:"requests"`
	Preemptions int      `json:"preemptions"`
	Evictions   int      `json:"evictions"`
	Checks      int      `json:"checks"`
	Mismatches  int      `json:"mismatches"`
	Differences []string `json:"differences,omitempty"`  // the first of each check that has any
	NotCompared []string `json:"not_compared,omitempty"` // and why
	Missing     []string `json:"missing,omitempty"`      // names of vLLM that this version does not have
}

func summarise(name string, s *session, t *table) summary {
	e := s.engine()
	sum := summary{
		Name: name, VLLM: e.VLLM, Python: e.Python, Steps: len(s.steps), Requests: len(s.requests), Preemptions: len(s.preemptions),
		Evictions: len(s.evictions), Checks: len(t.checks), Mismatches: t.mismatches(), Missing: e.Missing,
	}
	for _, c := range t.checks {
		switch {
		case c.skipped != "":
			sum.NotCompared = append(sum.NotCompared, c.name+": "+c.skipped)
		case c.differ > 0:
			sum.Differences = append(sum.Differences, c.name+": "+c.first[0])
		}
	}
	return sum
}

// appendTo adds a line to a file.
func (s summary) appendTo(path string) error {
	line, err := json.Marshal(s)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(append(line, '\n'))
	return errors.Join(err, f.Close())
}
