package main

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/go-quicktest/qt"
	"github.com/spf13/pflag"

	"github.com/pmtrace/pmtrace/probes/check"
)

// What gives pmtrace its capabilities gives those that it asks for, and no others.
func TestDeployedCapabilities(t *testing.T) {
	ids, _, _ := strings.Cut(check.FileCapabilities(), "+")
	want := strings.Split(strings.ToUpper(strings.ReplaceAll(ids, "cap_", "")), ",")
	for file, line := range map[string]*regexp.Regexp{
		"../../Makefile":                       regexp.MustCompile(`(?m)^CAPS := (.*)=ep$`),
		"../../deploy/systemd/pmtrace.service": regexp.MustCompile(`(?m)^(?:AmbientCapabilities|CapabilityBoundingSet)=(.*)$`),
		"../../deploy/kubernetes/pmtrace.yaml": regexp.MustCompile(`(?m)^ *add: \[(.*)\]$`),
		"../../deploy/Dockerfile":              regexp.MustCompile(`(?m)^# .*--cap-drop=ALL (.*) \\$`),
	} {
		b, err := os.ReadFile(file)
		qt.Assert(t, qt.IsNil(err))
		found := line.FindAllStringSubmatch(string(b), -1)
		qt.Assert(t, qt.IsTrue(len(found) > 0), qt.Commentf("%s", file))
		for _, m := range found {
			plain := strings.NewReplacer("--cap-add=", "", `"`, "", "CAP_", "", ",", " ").Replace(strings.ToUpper(strings.ReplaceAll(m[1], "--cap-add=", "")))
			qt.Check(t, qt.DeepEquals(strings.Fields(plain), want), qt.Commentf("%s", file))
		}
	}
}

// The variables that are set there are those of flags of attach.
func TestDeployedVariables(t *testing.T) {
	known := map[string]bool{}
	newBench(t).attachCommand().Flags().VisitAll(func(f *pflag.Flag) { known[twin(f.Name)] = true })
	var all []string
	for _, file := range []string{"systemd/pmtrace.service", "systemd/pmtrace.env", "kubernetes/pmtrace.yaml", "Dockerfile"} {
		b, err := os.ReadFile("../../deploy/" + file)
		qt.Assert(t, qt.IsNil(err))
		names := regexp.MustCompile(`PMTRACE_[A-Z_]+`).FindAllString(string(b), -1)
		qt.Check(t, qt.IsTrue(len(names) > 0), qt.Commentf("%s", file))
		for _, name := range names {
			qt.Check(t, qt.IsTrue(known[name]), qt.Commentf("%s: no flag is called %s", file, name))
		}
		all = append(all, names...)
	}
	qt.Check(t, qt.IsTrue(slices.Contains(all, "PMTRACE_SHIP_TO")))
}
