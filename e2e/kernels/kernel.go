package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/pmtrace/pmtrace/probes/check"
)

// Kernel is what was found on one.
type Kernel struct {
	Name     string              `json:"name"`
	Release  string              `json:"release"`
	Origin   string              `json:"origin"` // distribution/suite
	Date     string              `json:"date"`
	Findings []check.Finding     `json:"findings"`          // of pmtrace check
	Refusal  string              `json:"refusal,omitempty"` // what pmtrace record says where it cannot work
	Suites   map[string]Suite    `json:"suites"`
	Verifier map[string]Verified `json:"verifier"` // by the way they are loaded, and program
}

// Suite is a run of test binary.
type Suite struct {
	ExitCode int               `json:"exit_code"`
	Tests    map[string]string `json:"tests"` // PASS, FAIL or SKIP, by name
}

// suites are those that run.sh knows.
var suites = []string{"bpf", "probes", "e2e"}

func readKernel(dir string) (*Kernel, error) {
	k := &Kernel{Name: filepath.Base(dir), Suites: map[string]Suite{}}
	text := func(name string) string {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return ""
		}
		return strings.TrimSpace(string(b))
	}
	k.Release, k.Date = text("release"), text("date")
	_, k.Origin, _ = strings.Cut(text("origin"), " ")
	if err := json.Unmarshal([]byte(text("check.txt")), &k.Findings); err != nil {
		return nil, fmt.Errorf("%s: what pmtrace check says: %w", dir, err)
	}
	if len(check.Failed(k.Findings)) > 0 {
		k.Refusal = text("record.err")
	}
	for _, name := range suites {
		code := text(name + ".rc")
		if code == "" {
			continue // not run
		}
		n, err := strconv.Atoi(code)
		if err != nil {
			return nil, fmt.Errorf("%s/%s.rc: %w", dir, name, err)
		}
		k.Suites[name] = Suite{ExitCode: n, Tests: parseTests(text(name + ".txt"))}
	}
	var err error
	k.Verifier, err = readVerifier(filepath.Join(dir, "verifier"))
	return k, err
}

// works says whether pmtrace check finds nothing in the way.
func (k *Kernel) works() bool { return len(check.Failed(k.Findings)) == 0 }

func (k *Kernel) finding(id string) check.Finding {
	for _, f := range k.Findings {
		if f.ID == id {
			return f
		}
	}
	return check.Finding{}
}

// failures: what went wrong on a kernel that is to work, and a kernel that is neither.
func (k *Kernel) failures() []string {
	var out []string
	if !k.works() {
		if k.Refusal == "" {
			out = append(out, k.Name+": refused without a word")
		}
		return out
	}
	for _, name := range suites {
		s := k.Suites[name]
		if s.ExitCode != 0 {
			out = append(out, fmt.Sprintf("%s: %s ended with %d", k.Name, name, s.ExitCode))
		}
		for test, word := range s.Tests {
			if word == failed {
				out = append(out, fmt.Sprintf("%s: %s: %s", k.Name, name, test))
			}
		}
	}
	return out
}

// compareReleases orders 5.10 before 6.8 before 6.12.
func compareReleases(a, b *Kernel) int {
	if d := version(a.Release) - version(b.Release); d != 0 {
		return d
	}
	return strings.Compare(a.Release, b.Release)
}

func version(release string) int {
	major, rest, _ := strings.Cut(release, ".")
	minor, _, _ := strings.Cut(rest, ".")
	a, _ := strconv.Atoi(major)
	b, _ := strconv.Atoi(minor)
	return a*1000 + b
}
