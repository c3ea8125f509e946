package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Verified is what the kernel's verifier says of a program.
type Verified struct {
	Instructions int `json:"instructions"` // that it followed; a million is its limit
	PeakStates   int `json:"peak_states"`
}

var processed = regexp.MustCompile(`processed (\d+) insns.* peak_states (\d+)`)

// readVerifier reads the logs that bpf's tests left: TEST/WAY/PROGRAM.
func readVerifier(dir string) (map[string]Verified, error) {
	out := map[string]Verified{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		m := processed.FindSubmatch(b)
		if m == nil {
			return fmt.Errorf("%s: no verifier's account", path)
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		var v Verified
		v.Instructions, _ = strconv.Atoi(string(m[1]))
		v.PeakStates, _ = strconv.Atoi(string(m[2]))
		out[name] = v
		return nil
	})
	return out, err
}

// program is a program's name without the way it was loaded, and its dearest way.
func (k *Kernel) dearest() map[string]int {
	out := map[string]int{}
	for name, v := range k.Verifier {
		program := filepath.Base(name)
		out[program] = max(out[program], v.Instructions)
	}
	return out
}

// writeVerifierLog keeps the logs of the oldest kernel that works.
func writeVerifierLog(from, to string, kernels []*Kernel) error {
	i := slices.IndexFunc(kernels, (*Kernel).works)
	if i < 0 {
		return nil
	}
	k := kernels[i]
	var b bytes.Buffer
	fmt.Fprintf(&b, "The verifier of Linux %s (%s), %s\n", k.Release, k.Origin, k.Date)
	for _, name := range slices.Sorted(maps.Keys(k.Verifier)) {
		log, err := os.ReadFile(filepath.Join(from, k.Name, "verifier", name))
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "\n%s\n%s\n", name, strings.TrimSpace(string(log)))
	}
	return os.WriteFile(filepath.Join(to, "verifier-oldest.txt"), b.Bytes(), 0o644)
}
