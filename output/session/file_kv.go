package session

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"github.com/pmtrace/pmtrace/decode/record"
)

// kvCount is what kv_cache_summary.txt and the Summary say of the KV cache.
type kvCount struct {
	unwatched            bool    // of the free blocks only the number at each step is known
	total, peak          int64   // blocks; of all engines, of the fullest moment of each
	peakPct              float64 // of one engine
	allocated, freed     int64
	reused               int64
	evicted, withoutHash int64 // with a hash; as vLLM counts them, both
	unknownBirth         int64
	lifetime, idle       mean // of cached blocks
	allLifetime, allIdle mean // as vLLM's metric has it
	totals, peaks        map[int32]int64
}

func (k *kvCount) step(r *record.StepRow) {
	if r.KVUsed == nil || r.KVTotal == nil {
		return
	}
	if k.totals == nil {
		k.totals, k.peaks = map[int32]int64{}, map[int32]int64{}
	}
	k.totals[r.Engine] = int64(*r.KVTotal)
	k.use(r.Engine, int64(*r.KVUsed))
}

func (k *kvCount) use(engine int32, used int64) {
	total := k.totals[engine]
	if total == 0 {
		return
	}
	k.peaks[engine] = max(k.peaks[engine], used)
	k.peakPct = max(k.peakPct, 100*float64(used)/float64(total))
}

func (k *kvCount) operation(r *record.KVUsageRow) {
	switch r.Op {
	case record.KVAlloc:
		k.allocated += int64(r.Blocks)
	case record.KVReuse:
		k.reused += int64(r.Blocks)
	case record.KVFree:
		k.freed += int64(r.Blocks)
	}
	// Between two steps the cache may have been fuller than at either.
	if total := k.totals[r.Engine]; total > 0 && r.FreeAfter != nil {
		k.use(r.Engine, total-int64(*r.FreeAfter))
	}
}

func (k *kvCount) eviction(r *record.KVEvictionRow) {
	life, idle := float64(r.LifetimeNS)/1e9, float64(r.IdleNS)/1e9
	k.allLifetime.add(life)
	k.allIdle.add(idle)
	if r.HadHash {
		k.evicted++
		k.lifetime.add(life)
		k.idle.add(idle)
	} else {
		k.withoutHash++
	}
	if !r.BirthKnown {
		k.unknownBirth++
	}
}

func (k *kvCount) finish() {
	for engine, total := range k.totals {
		k.total += total
		k.peak += k.peaks[engine]
	}
}

// kvFiles has one line a step in kv_cache_usage.csv (every single change is in
// the table kv_usage), and one a cached block that was handed out again in
// kv_cache_evictions.csv, which is absent where nobody watched the free blocks.
func kvFiles(out *outputs, facts *Facts) Visitor {
	usage := out.csv(FileKVUsage, headerKVUsage)
	count := kvCount{unwatched: !facts.watched(watchFreeBlocks)}
	var evictions *csvFile
	if !count.unwatched {
		evictions = out.csv(FileKVEvictions, headerKVEvictions)
	}
	return Visitor{
		Step: func(r *record.StepRow) error {
			count.step(r)
			if r.KVUsed == nil || r.KVTotal == nil {
				return nil
			}
			used, total := int64(*r.KVUsed), int64(*r.KVTotal)
			usage.sec(r.ScheduledNS).pct(used, total).int(used).int(total).end()
			return usage.err
		},
		KVUsage: func(r *record.KVUsageRow) error { count.operation(r); return nil },
		KVEviction: func(r *record.KVEvictionRow) error {
			count.eviction(r)
			if !r.HadHash || count.unwatched {
				return nil
			}
			evictions.sec(r.TimeNS).sec(r.LifetimeNS).sec(r.IdleNS).end()
			return evictions.err
		},
		Done: func() error {
			count.finish()
			if count.totals == nil { // no step seen: the pool as found at attach
				for _, e := range facts.Engines {
					count.total += int64(max(0, e.Blocks-1))
				}
			}
			return out.write(FileKVSummary, count.text)
		},
	}
}

func (k *kvCount) text(w io.Writer) error {
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, "KV Cache Statistics\n%s\n\n", strings.Repeat("=", 50))
	fmt.Fprintf(b, "Total blocks available: %d\n", k.total)
	if k.unwatched {
		fmt.Fprintf(b, "Peak blocks used: %d\n", k.peak)
		fmt.Fprintf(b, "Peak usage: %.2f%%\n", k.peakPct)
		fmt.Fprintf(b, "\nCounted at each step. The changes between were not watched: metadata.json says why.\n")
		return b.Flush()
	}
	fmt.Fprintf(b, "Total allocations: %d\n", k.allocated)
	fmt.Fprintf(b, "Total deallocations: %d\n", k.freed)
	fmt.Fprintf(b, "Peak blocks used: %d\n", k.peak)
	fmt.Fprintf(b, "Peak usage: %.2f%%\n", k.peakPct)
	fmt.Fprintf(b, "Total evictions: %d\n", k.evicted)
	fmt.Fprintf(b, "Avg block lifetime: %.2fs\n", k.lifetime.value())
	fmt.Fprintf(b, "Avg idle before eviction: %.2fs\n", k.idle.value())
	fmt.Fprintf(b, "\nCounted in blocks. Evictions are cached blocks (with a hash) handed out again.\n")
	fmt.Fprintf(b, "Cached blocks taken back into use: %d\n", k.reused)
	fmt.Fprintf(b, "Evictions as vLLM counts them: %d (with hash: %d, without: %d)\n", k.evicted+k.withoutHash, k.evicted, k.withoutHash)
	fmt.Fprintf(b, "Avg lifetime of those: %.2fs\n", k.allLifetime.value())
	fmt.Fprintf(b, "Avg idle of those: %.2fs\n", k.allIdle.value())
	fmt.Fprintf(b, "Evictions of blocks from before tracing began (times are lower bounds): %d\n", k.unknownBirth)
	return b.Flush()
}
