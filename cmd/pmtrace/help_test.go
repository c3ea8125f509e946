package main

import (
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/go-quicktest/qt"
	"github.com/spf13/cobra"
)

// The shell is offered what flags and commands take.
func TestCompletion(t *testing.T) {
	place := t.TempDir()
	for _, name := range []string{"session_20261123_200354", "session_20261124_060211", "other"} {
		qt.Assert(t, qt.IsNil(os.Mkdir(filepath.Join(place, name), 0o755)))
	}
	env := []string{"PMTRACE_OUTPUT_DIR=" + place}
	for _, c := range []struct {
		typed []string
		want  string
	}{
		{[]string{"attach", "--gpu-sampling", ""}, "20us\n100us\nwindows\noff\n:4\n"},
		{[]string{"top", "--no-profilers", ""}, strings.Join(profilersHere(), "\n") + "\n:4\n"},
		{[]string{"request", "--by", ""}, "total\nttft\ntpot\nqueue\n:4\n"},
		{[]string{"summary", ""}, place + "/session_20261124_060211\n" + place + "/session_20261123_200354\n:36\n"},
		{[]string{"export", "views", place + "/session_20261123"}, place + "/session_20261123_200354\n:36\n"},
		{[]string{"decode", "elsewhere"}, ":16\n"},
	} {
		var out strings.Builder
		code := run(t.Context(), append([]string{"__complete"}, c.typed...), nil, &out, io.Discard, env)
		qt.Check(t, qt.Equals(code, 0))
		qt.Check(t, qt.Equals(out.String(), c.want), qt.Commentf("%q", c.typed))
	}
}

var quoted = regexp.MustCompile(`'[^']*'`)

// Every command has its help, and examples that are commands with flags that they have.
func TestHelp(t *testing.T) {
	root := (&app{env: environment{}, world: thisMachine()}).command()
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		for _, sub := range c.Commands() {
			walk(sub)
		}
		if c.Hidden || c.HasSubCommands() {
			return
		}
		qt.Check(t, qt.IsTrue(c.Long != "" && c.Example != ""), qt.Commentf("%s", c.CommandPath()))
		for line := range strings.Lines(c.Example) {
			_, typed, ok := strings.Cut(line, "pmtrace ")
			qt.Check(t, qt.IsTrue(ok), qt.Commentf("%s", line))
			typed, _, _ = strings.Cut(quoted.ReplaceAllString(typed, "X"), " -- ")
			found, rest, err := root.Find(strings.Fields(typed))
			qt.Check(t, qt.IsTrue(err == nil && found == c), qt.Commentf("%s", line))
			for _, word := range rest {
				if name, isFlag := strings.CutPrefix(word, "--"); isFlag && name != "" {
					name, _, _ = strings.Cut(name, "=")
					qt.Check(t, qt.IsNotNil(c.Flags().Lookup(name)), qt.Commentf("%s", line))
				}
			}
		}
	}
	walk(root)
}
