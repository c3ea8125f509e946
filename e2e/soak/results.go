package main

import (
	"github.com/pmtrace/pmtrace/e2e/kept"
	"github.com/pmtrace/pmtrace/e2e/machine"
	"github.com/pmtrace/pmtrace/e2e/soak/steady"
)

// results are what is kept.
type results struct {
	Machine   machine.Machine   `json:"machine"`
	Simulated *steady.Simulated `json:"simulated,omitempty"`
	Real      *steady.Real      `json:"real,omitempty"`
}

const name = "results" // .json, and .md in capitals

func readResults(dir string) (*results, error) {
	r := &results{}
	return r, kept.Read(dir, name, r)
}

func (r *results) write(dir string) error { return kept.Write(dir, name, r, r.page()) }
