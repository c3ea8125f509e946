package bpf

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"
)

// loops are the ways to loop; a kernel before 5.17 has the second only.
var loops = []struct {
	name      string
	configure func(t *testing.T, spec *ebpf.CollectionSpec)
}{
	{"bpf_loop", func(t *testing.T, spec *ebpf.CollectionSpec) {
		has(t, features.HaveProgramHelper(ebpf.PerfEvent, asm.FnLoop))
		verified(t, ConfigureLoops(spec))
	}},
	{"by map", func(t *testing.T, spec *ebpf.CollectionSpec) {
		has(t, features.HaveProgramHelper(ebpf.PerfEvent, asm.FnForEachMapElem))
		verified(t, LoopByMap(spec))
	}},
}

// has skips what needs a feature that this kernel has not.
func has(t *testing.T, err error) {
	t.Helper()
	if errors.Is(err, ebpf.ErrNotSupported) {
		t.Skip(err)
	}
	verified(t, err)
}

// The kernel's verifier accepts the programs.
func TestLoad(t *testing.T) {
	for _, loop := range loops {
		t.Run(loop.name, func(t *testing.T) {
			spec, err := LoadScheduler()
			verified(t, err)
			loop.configure(t, spec)
			load(t, spec, nil)
		})
	}
}

// The programs on CUDA calls, and those of hooks, share the events' ring, and are
// plain uprobes where the kernel has no others.
func TestLoadUprobes(t *testing.T) {
	for _, set := range []struct {
		name string
		load func() (*ebpf.CollectionSpec, error)
	}{{"cuda", LoadCuda}, {"hooks", LoadHooks}} {
		for _, attach := range []ebpf.AttachType{ebpf.AttachTraceUprobeMulti, ebpf.AttachNone} {
			for _, loop := range loops {
				t.Run(fmt.Sprint(set.name, "/", attach, "/", loop.name), func(t *testing.T) {
					if attach == ebpf.AttachTraceUprobeMulti {
						has(t, features.HaveBPFLinkUprobeMulti())
					}
					spec, err := set.load()
					verified(t, err)
					loop.configure(t, spec)
					for _, p := range spec.Programs {
						if p.Type == ebpf.Kprobe {
							p.AttachType = attach
						}
					}
					events, err := ebpf.NewMap(spec.Maps["events"])
					verified(t, err)
					defer events.Close()
					load(t, spec, map[string]*ebpf.Map{"events": events})
				})
			}
		}
	}
}

// load loads a set of programs. $PMTRACE_VERIFIER is where the verifier's own account of
// each goes.
func load(t *testing.T, spec *ebpf.CollectionSpec, maps map[string]*ebpf.Map) {
	t.Helper()
	c, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{
		MapReplacements: maps,
		Programs:        ebpf.ProgramOptions{LogLevel: ebpf.LogLevelStats},
	})
	verified(t, err)
	defer c.Close()
	dir := os.Getenv("PMTRACE_VERIFIER")
	for name, p := range c.Programs {
		if p.VerifierLog == "" {
			t.Errorf("the verifier says nothing of %s", name)
		}
		if dir != "" {
			write(t, filepath.Join(dir, t.Name(), name), p.VerifierLog)
		}
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	verified(t, os.MkdirAll(filepath.Dir(path), 0o755))
	verified(t, os.WriteFile(path, []byte(text), 0o644))
}

func verified(t *testing.T, err error) {
	t.Helper()
	var ve *ebpf.VerifierError
	if errors.As(err, &ve) {
		t.Fatalf("%+v", ve)
	}
	if err != nil {
		t.Fatal(err)
	}
}
