package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/pmtrace/pmtrace/probes/check"
)

// versionOf is what this binary says of itself.
type versionInfo struct {
	Version string `json:"version"`
	Commit  string `json:"commit"`
	Go      string `json:"go"`
	Arch    string `json:"arch"`
	Kernel  string `json:"needs_kernel"`
}

// release is written by the linker into a release's binary (make build RELEASE=…).
var release string

// version reads what the Go toolchain wrote into the binary.
func version() versionInfo {
	v := versionInfo{Version: "devel", Commit: "unknown", Go: runtime.Version(), Arch: runtime.GOARCH, Kernel: check.NeedKernel()}
	b, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	if b.Main.Version != "" && b.Main.Version != "(devel)" {
		v.Version = b.Main.Version
	}
	v.Version = cmp.Or(release, v.Version)
	for _, s := range b.Settings {
		if s.Key == "vcs.revision" {
			v.Commit = s.Value[:min(12, len(s.Value))]
		}
	}
	return v
}

func (a *app) versionCommand() *cobra.Command {
	asJSON := false
	c := &cobra.Command{
		Use:   "version",
		Short: "Say which pmtrace this is",
		Long: `version prints the version, the commit and the Go that pmtrace was built of, and the
oldest Linux that it can trace on.`,
		Example: "  pmtrace version --json",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			v := version()
			if asJSON {
				return a.printJSON(v)
			}
			fmt.Fprintf(a.stdout, "pmtrace %s (commit %s, %s, %s), needs Linux %s or newer\n", v.Version, v.Commit, v.Go, v.Arch, v.Kernel)
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return c
}

func (a *app) printJSON(v any) error {
	e := json.NewEncoder(a.stdout)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return failed("cannot write the answer", err, "")
	}
	return nil
}
