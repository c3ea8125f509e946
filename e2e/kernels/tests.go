package main

import (
	"regexp"
	"strings"
)

const (
	passed  = "PASS"
	failed  = "FAIL"
	skipped = "SKIP"
)

var testLine = regexp.MustCompile(`(?m)^\s*--- (PASS|FAIL|SKIP): (\S+) \(`)

// parseTests takes the results of the innermost tests out of what a test binary says.
func parseTests(text string) map[string]string {
	out := map[string]string{}
	for _, m := range testLine.FindAllStringSubmatch(text, -1) {
		out[m[2]] = m[1]
	}
	for name := range out {
		for i := strings.LastIndexByte(name, '/'); i > 0; i = strings.LastIndexByte(name[:i], '/') {
			delete(out, name[:i])
		}
	}
	return out
}

// Feature is what pmtrace does, and the tests that show it.
type Feature struct {
	Name  string
	Shown []selection
}

type selection struct {
	suite string
	tests *regexp.Regexp
}

func tests(suite, pattern string) selection { return selection{suite, regexp.MustCompile(pattern)} }

var features = []Feature{
	{"programs load", []selection{tests("bpf", `^TestLoad`)}},
	{"`attach`: the scheduler", []selection{tests("probes", `^(TestShape|TestAttachAgain|TestNamespaces|TestSlotsTaken|TestTinyRing)`)}},
	{"uprobes", []selection{tests("probes", `^(TestCallArguments|TestCallThreads)/plain=true|^TestHookLibrary/plain`)}},
	{"uprobe_multi", []selection{tests("probes", `^(TestCallArguments|TestCallThreads)/plain=false|^TestHookLibrary/multi`)}},
	{"CUDA graphs", []selection{tests("e2e", `^TestCUDA/`), tests("probes", `^(TestCallPhases|TestWorkerSteps|TestLookGraphs)`)}},
	{"`--hook`", []selection{tests("probes", `^TestHook`)}},
	{"`record`", []selection{tests("e2e", `^TestRecordCUPTI/`)}},
}

// count counts a feature's tests on a kernel by their results.
func (f *Feature) count(k *Kernel) map[string]int {
	out := map[string]int{}
	for _, s := range f.Shown {
		for name, word := range k.Suites[s.suite].Tests {
			if s.tests.MatchString(name) {
				out[word]++
			}
		}
	}
	return out
}
