package main

import "github.com/pmtrace/pmtrace/cupti"

func openRings(dir string, session uint64) (rings, error) {
	r, err := cupti.Open(dir, session)
	if err != nil {
		return nil, err
	}
	return r, nil
}
