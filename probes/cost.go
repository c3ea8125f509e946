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
	Time  time.Duration // of the program alone, not of the breakpoint's or uprobe's trap
}

// Cost reads the kernel's statistics on the programs. They count while somebody
// has them on (ebpf.EnableStats with BPF_STATS_RUN_TIME), and are 0 else.
func (t *Tracer) Cost() ([]Cost, error) {
	p := &t.objs.SchedulerPrograms
	t.mu.Lock()
	all := map[Watch][]*ebpf.Program{}
	if t.calls != nil {
		all = t.calls.loaded()
	}
	t.mu.Unlock()
	all[WatchScheduleReturn] = []*ebpf.Program{p.ScheduleReturn}
	all[WatchFreeBlocks] = []*ebpf.Program{p.FreeBlocks}
	all[WatchUpdateReturn] = []*ebpf.Program{p.UpdateReturn}
	all[WatchUpdateEntry] = []*ebpf.Program{p.UpdateEntry}
	var out []Cost
	for _, w := range []Watch{WatchScheduleReturn, WatchFreeBlocks, WatchUpdateReturn, WatchUpdateEntry, WatchCallEntry, WatchCallReturn} {
		if len(all[w]) == 0 {
			continue // not loaded
		}
		c := Cost{Watch: w}
		for _, prog := range all[w] {
			s, err := prog.Stats()
			if err != nil {
				return nil, fmt.Errorf("statistics of the program on %s: %w", w, err)
			}
			c.Runs += s.RunCount
			c.Time += s.Runtime
		}
		out = append(out, c)
	}
	return out, nil
}
