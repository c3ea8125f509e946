package main

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/pmtrace/pmtrace/e2e/machine"
	"github.com/pmtrace/pmtrace/e2e/soak/steady"
)

// results are what is kept.
type results struct {
	Machine   machine.Machine   `json:"machine"`
	Simulated *steady.Simulated `json:"simulated,omitempty"`
	Real      *steady.Real      `json:"real,omitempty"`
}

func readResults(dir string) (*results, error) {
	r := &results{}
	data, err := os.ReadFile(filepath.Join(dir, "results.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return nil, err
	}
	return r, json.Unmarshal(data, r)
}

func (r *results) write(dir string) error {
	data, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "results.json"), append(data, '\n'), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "RESULTS.md"), []byte(r.page()), 0o644)
}
