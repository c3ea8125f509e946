package main

import (
	"debug/elf"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"slices"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"
)

// frugal keeps the runtime from taking of the server's machine what it would
// take of its own: memory for twice the live heap, and a quarter of all cores for
// a moment of collection. The live heap is about 15 MB; to collect it often costs
// too little to be measured.
func frugal() {
	debug.SetGCPercent(12)
	runtime.GOMAXPROCS(min(2, runtime.GOMAXPROCS(0)))
}

// letGo gives back what is mapped of pmtrace's own file, which counts as its memory: what
// was touched once, as at the start, stays otherwise. What is used again comes from the
// page cache, in less than a millisecond.
func letGo() error {
	file, err := elf.Open("/proc/self/exe")
	if err != nil {
		return err
	}
	defer file.Close()
	// By their places in the file: those of segments that are written to have
	// mappings that look the same once they are relocated.
	var never []int64
	for _, p := range file.Progs {
		if p.Type == elf.PT_LOAD && p.Flags&elf.PF_W == 0 {
			never = append(never, int64(p.Off)&^int64(os.Getpagesize()-1))
		}
	}
	self, err := procfs.Self()
	if err != nil {
		return err
	}
	maps, err := self.ProcMaps()
	if err != nil {
		return err
	}
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return err
	}
	for _, m := range maps {
		if m.Pathname != exe || m.Perms.Write || !slices.Contains(never, m.Offset) {
			continue
		}
		if _, _, failed := unix.Syscall(unix.SYS_MADVISE, m.StartAddr, m.EndAddr-m.StartAddr, unix.MADV_DONTNEED); failed != 0 {
			return fmt.Errorf("madvise: %w", failed)
		}
	}
	return nil
}
