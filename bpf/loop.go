package bpf

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"
)

// ConfigureLoops chooses what the programs loop with (loop.h), by what this kernel has. It
// is for specs that have not been loaded yet.
func ConfigureLoops(spec *ebpf.CollectionSpec) error {
	err := features.HaveProgramHelper(ebpf.PerfEvent, asm.FnLoop)
	if errors.Is(err, ebpf.ErrNotSupported) {
		return LoopByMap(spec)
	}
	if err != nil {
		return fmt.Errorf("look for bpf_loop: %w", err)
	}
	spec.Maps["turns"].MaxEntries = 1 // not used
	return nil
}

// LoopByMap has the programs loop as kernels before 5.17 need it.
func LoopByMap(spec *ebpf.CollectionSpec) error {
	return spec.Variables["loop_by_map"].Set(uint32(1))
}
