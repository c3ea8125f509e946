package main

import (
	"slices"
	"strings"

	"github.com/pmtrace/pmtrace/output/session"
)

// profilersHere are those of this version, all on by default.
func profilersHere() []string {
	return []string{
		session.ProfilerBatch, session.ProfilerCPU, session.ProfilerForwardPass,
		session.ProfilerKVCache, session.ProfilerPreemption,
		session.ProfilerCUDAGraph, session.ProfilerEncoderDecoder, session.ProfilerGPU,
	}
}

// Calls of --cuda-calls.
const (
	callLaunches = "launches"
	callCopies   = "copies"
	callEvents   = "events"
	callMemory   = "memory"
)

func cudaCalls() []string { return []string{callLaunches, callCopies, callEvents, callMemory} }

// Modes of --gpu-sampling.
const (
	samplingOff     = "off"
	samplingWindows = "windows"
)

func samplingModes() []string { return []string{"20us", "100us", samplingWindows, samplingOff} }

// profilersLater have their names already.
func profilersLater() []string {
	return []string{
		session.ProfilerMoE, session.ProfilerKernels,
	}
}

// chooseProfilers returns those that are on: the ones asked for, or all, less
// the ones not wanted.
func chooseProfilers(want, not []string) ([]string, error) {
	here, later := profilersHere(), profilersLater()
	for _, name := range slices.Concat(want, not) {
		if !slices.Contains(here, name) && !slices.Contains(later, name) {
			return nil, usage("no profiler is called %q: there are %s", name, strings.Join(here, ", "))
		}
	}
	for _, name := range want {
		if slices.Contains(later, name) {
			return nil, &failure{
				code: exitUsage, what: "profiler " + name + " is none that is chosen by name",
				remedy: "choose from " + strings.Join(here, ", ") + "; record has --moe and --kernels",
			}
		}
	}
	on := here
	if len(want) > 0 {
		on = slices.DeleteFunc(here, func(p string) bool { return !slices.Contains(want, p) })
	}
	on = slices.DeleteFunc(on, func(p string) bool { return slices.Contains(not, p) })
	if len(on) == 0 {
		return nil, usage("all profilers are switched off")
	}
	return on, nil
}
