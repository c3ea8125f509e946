package bpf

import (
	"errors"
	"testing"

	"github.com/cilium/ebpf"
)

// The kernel's verifier accepts the programs.
func TestLoad(t *testing.T) {
	var objs SchedulerObjects
	verified(t, LoadSchedulerObjects(&objs, nil))
	if err := objs.Close(); err != nil {
		t.Fatal(err)
	}
}

// The programs on CUDA calls share the events' ring, and are plain uprobes where
// the kernel has no others.
func TestLoadCuda(t *testing.T) {
	for _, test := range []struct {
		name   string
		attach ebpf.AttachType
	}{
		{"multi", ebpf.AttachTraceUprobeMulti},
		{"plain", ebpf.AttachNone},
	} {
		t.Run(test.name, func(t *testing.T) {
			var scheduler SchedulerObjects
			verified(t, LoadSchedulerObjects(&scheduler, nil))
			defer scheduler.Close()
			spec, err := LoadCuda()
			verified(t, err)
			for _, p := range spec.Programs {
				p.AttachType = test.attach
			}
			var objs CudaObjects
			verified(t, spec.LoadAndAssign(&objs, &ebpf.CollectionOptions{
				MapReplacements: map[string]*ebpf.Map{"events": scheduler.Events},
			}))
			objs.Close()
		})
	}
}

// So are the programs of hooks.
func TestLoadHooks(t *testing.T) {
	for _, attach := range []ebpf.AttachType{ebpf.AttachTraceUprobeMulti, ebpf.AttachNone} {
		t.Run(attach.String(), func(t *testing.T) {
			var scheduler SchedulerObjects
			verified(t, LoadSchedulerObjects(&scheduler, nil))
			defer scheduler.Close()
			spec, err := LoadHooks()
			verified(t, err)
			for _, name := range []string{"function_entry", "function_return"} {
				spec.Programs[name].AttachType = attach
			}
			var objs HooksObjects
			verified(t, spec.LoadAndAssign(&objs, &ebpf.CollectionOptions{
				MapReplacements: map[string]*ebpf.Map{"events": scheduler.Events},
			}))
			objs.Close()
		})
	}
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
