package main

import (
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// environment is the caller's.
type environment map[string]string

func newEnvironment(list []string) environment {
	e := environment{}
	for _, v := range list {
		if name, value, ok := strings.Cut(v, "="); ok {
			e[name] = value
		}
	}
	return e
}

func (e environment) get(name string) string { return e[name] }

func (e environment) list() []string {
	out := make([]string, 0, len(e))
	for name, value := range e {
		out = append(out, name+"="+value)
	}
	return out
}

// twin is the variable that stands for a flag: --output-dir and
// PMTRACE_OUTPUT_DIR.
func twin(flag string) string {
	return "PMTRACE_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// profilemateTwin is profilemate's variable of the same meaning, if it has one.
func profilemateTwin(flag string) string {
	switch flag {
	case "output-dir":
		return "VLLM_PROFILING_DIR"
	case "verbose":
		return "VLLM_PROFILING_VERBOSE"
	case "log-interval":
		return "VLLM_PROFILING_LOG_INTERVAL"
	}
	return ""
}

// apply gives flags that were not on the command line their twins' values.
func (e environment) apply(c *cobra.Command) error {
	var err error
	c.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if f.Changed || f.Name == "help" || err != nil {
			return
		}
		for _, name := range []string{twin(f.Name), profilemateTwin(f.Name)} {
			value := e[name]
			if value == "" {
				continue
			}
			if f.Value.Type() == "bool" {
				value = boolWord(value)
			}
			if serr := c.Flags().Set(f.Name, value); serr != nil {
				err = usage("%s=%q: %v", name, e[name], lastCause(serr))
			}
			return
		}
	})
	return err
}

// withoutParser takes "strconv.Atoi: parsing …: " out of an error about a flag.
func withoutParser(s string) string {
	at := strings.Index(s, "strconv.")
	end := strings.LastIndex(s, ": ")
	if at < 0 || end < at {
		return s
	}
	return s[:at] + s[end+len(": "):]
}

// lastCause takes cobra's "invalid argument … for …: " off.
func lastCause(err error) string {
	s := err.Error()
	if i := strings.LastIndex(s, " flag: "); i >= 0 {
		s = s[i+len(" flag: "):]
	}
	return withoutParser(s)
}

// boolWord reads the words that people put in environments.
func boolWord(s string) string {
	switch strings.ToLower(s) {
	case "yes", "on":
		return "true"
	case "no", "off":
		return "false"
	}
	return s
}
