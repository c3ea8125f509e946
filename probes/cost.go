package probes

import (
	"fmt"
	"time"

	"github.com/cilium/ebpf"
)

// Cost is what one of the programs has taken of the watched threads since it
// was loaded, by the kernel's own count.
type Cost struct {
	Watch Watch
	Runs  uint64
	Time  time.Duration // of the program alone, not of the breakpoint's trap
}

// Cost reads the kernel's statistics on the programs. They count while somebody
// has them on (ebpf.EnableStats with BPF_STATS_RUN_TIME), and are 0 else.
func (t *Tracer) Cost() ([]Cost, error) {
	p := &t.objs.SchedulerPrograms
	var out []Cost
	for _, w := range []struct {
		watch Watch
		prog  *ebpf.Program
	}{
		{WatchScheduleReturn, p.ScheduleReturn},
		{WatchFreeBlocks, p.FreeBlocks},
		{WatchUpdateReturn, p.UpdateReturn},
		{WatchUpdateEntry, p.UpdateEntry},
	} {
		s, err := w.prog.Stats()
		if err != nil {
			return nil, fmt.Errorf("statistics of the program on %s: %w", w.watch, err)
		}
		out = append(out, Cost{Watch: w.watch, Runs: s.RunCount, Time: s.Runtime})
	}
	return out, nil
}
