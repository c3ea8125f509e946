package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pmtrace/pmtrace/output/prometheus"
	"github.com/pmtrace/pmtrace/output/report"
	"github.com/pmtrace/pmtrace/output/session"
)

// offerings gives the shell what may stand behind flags and commands.
func (a *app) offerings(root *cobra.Command) {
	onOff := []string{cuptiOn, cuptiOff}
	for name, values := range map[string][]string{
		"profilers": profilersHere(), "no-profilers": profilersHere(), "cuda-calls": cudaCalls(), "gpu-sampling": samplingModes(),
		"cupti": onOff, "moe": onOff, "mode": {profileQuick, profileFull, profileMoE}, "kernels": {"1s/60s", "off", "always"},
		"by": report.Orders(), "format": {string(prometheus.Text), string(prometheus.OpenMetrics)},
	} {
		offer(root, name, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
	}
	offer(root, "pid", a.offerServers)
	offer(root, "output-dir", cobra.FixedCompletions(nil, cobra.ShellCompDirectiveFilterDirs))
	for _, path := range []string{"summary", "report", "request", "top", "diff", "decode", "ship", "export perfetto", "export views", "export prometheus", "export otlp"} {
		if c, _, err := root.Find(strings.Fields(path)); err == nil {
			c.ValidArgsFunction = a.offerSessions
		}
	}
}

// offer completes a flag of every command that has it.
func offer(c *cobra.Command, flag string, values cobra.CompletionFunc) {
	if c.LocalNonPersistentFlags().Lookup(flag) != nil {
		// It fails where the flag has one already, which none has.
		_ = c.RegisterFlagCompletionFunc(flag, values)
	}
	for _, sub := range c.Commands() {
		offer(sub, flag, values)
	}
}

func (a *app) offerServers(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	servers, err := a.world.proc.List()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var list []string
	for _, s := range servers {
		list = append(list, cobra.CompletionWithDesc(strconv.Itoa(s.Root), printable(s.Model)))
	}
	return list, cobra.ShellCompDirectiveNoFileComp
}

// mostOffered is as many sessions as one looks through.
const mostOffered = 50

// offerSessions are the sessions where new ones go, the newest first; where none is called so,
// any directory.
func (a *app) offerSessions(_ *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
	place := session.Place("", a.env.get)
	// The place's own name is no pattern.
	names, err := filepath.Glob(filepath.Join(escaped(place), "session_*"))
	if err != nil {
		return nil, cobra.ShellCompDirectiveFilterDirs
	}
	names = slices.DeleteFunc(names, func(name string) bool { return !strings.HasPrefix(name, typed) })
	slices.Sort(names)
	slices.Reverse(names)
	if len(names) == 0 {
		return nil, cobra.ShellCompDirectiveFilterDirs
	}
	return names[:min(len(names), mostOffered)], cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}

// escaped makes a path a pattern of itself.
func escaped(path string) string {
	var b strings.Builder
	for _, r := range path {
		if strings.ContainsRune(`*?[\`, r) {
			b.WriteByte('\\')
		}
		fmt.Fprint(&b, string(r))
	}
	return b.String()
}
