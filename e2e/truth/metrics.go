package main

import (
	"encoding/json"
	"fmt"
	"io"
)

// metrics is what was added to the server's counters, by name with labels.
type metrics map[string]float64

type scrape struct {
	Samples map[string]float64 `json:"samples"`
}

func readMetrics(before, after string) (metrics, error) {
	a, err := readFile(before, parseScrape)
	if err != nil {
		return nil, err
	}
	b, err := readFile(after, parseScrape)
	if err != nil {
		return nil, err
	}
	return delta(a, b), nil
}

func parseScrape(r io.Reader) (scrape, error) {
	var s scrape
	if err := json.NewDecoder(r).Decode(&s); err != nil {
		return s, err
	}
	if len(s.Samples) == 0 {
		return s, fmt.Errorf("no samples")
	}
	return s, nil
}

func delta(before, after scrape) metrics {
	m := metrics{}
	for name, v := range after.Samples {
		m[name] = v - before.Samples[name]
	}
	return m
}
