package main

import (
	"fmt"

	"github.com/pmtrace/pmtrace/decode/record"
)

// checkBlocks replays the operations on the free block queue.
func checkBlocks(t *table, in *input) {
	s := &in.session
	const name = "kv: each operation goes on from the one before"
	if !s.queue() {
		t.same("kv: no operations without the watch", 0, len(s.usage)+len(s.blocks)+len(s.evictions))
		return
	}
	chain := t.count(name)
	for i := range s.usage {
		op := &s.usage[i]
		ok := op.Op != record.KVOther && op.FreeAfter != nil
		if i > 0 {
			before := &s.usage[i-1]
			ok = ok && op.OpID == before.OpID+1 && op.TimeNS >= before.TimeNS && num(op.FreeAfter) == num(before.FreeAfter)+int64(gain(op))
		}
		chain.one(ok, "operation %d: %s of %d, %s free after", op.OpID, op.Op, op.Blocks, show(op.FreeAfter))
	}
	checkStepUsage(t, s)
	p := replay(t, in)
	checkEvictions(t, in, p)
}

// gain is what an operation adds to the free blocks.
func gain(op *record.KVUsageRow) int32 {
	if op.Op == record.KVFree {
		return op.Blocks
	}
	return -op.Blocks
}

// checkStepUsage compares what schedule left with the newest operation.
func checkStepUsage(t *table, s *session) {
	c := t.count("kv: kv_used_blocks of a step = the operations' counter")
	at := 0
	for i := range s.steps {
		st := &s.steps[i]
		for at < len(s.usage) && s.usage[at].TimeNS <= st.ScheduledNS {
			at++
		}
		if at == 0 {
			continue
		}
		want := num(st.KVTotal) - num(s.usage[at-1].FreeAfter)
		c.one(st.KVUsed != nil && int64(*st.KVUsed) == want, "step %d: want %d, got %s", st.StepID, want, show(st.KVUsed))
	}
}

// life is what the operations tell of a block.
type life struct {
	known bool // since tracing began
	used  bool
	birth int64 // when it was handed out; valid if born
	born  bool
	hit   int64 // newest time it was taken from the free queue for its content
}

// again is a block that is handed out again.
type again struct {
	op, block, lifetime int64
	idleAtMost          int64
	known               bool // its birth
}

// replay follows each block. It returns the blocks that were handed out again.
func replay(t *table, in *input) []again {
	s := &in.session
	counts, states := t.count("kv: kv_blocks lists as many as kv_usage counts"), t.count("kv: no block handed out twice or freed twice")
	used := t.count("kv: blocks in use = total - free (where all were free at attach)")
	total := int64(s.engine().Blocks) - 1 // without the null block
	// Under a load the first blocks may be handed out between the look at them and the watches.
	empty := !in.midload && int64(s.engine().FreeBlocks) == total
	lives := map[int32]*life{}
	var list []again
	at, inUse := 0, int64(0)
	for i := range s.usage {
		op := &s.usage[i]
		from := at
		for at < len(s.blocks) && s.blocks[at].OpID == op.OpID {
			b := &s.blocks[at]
			l := lives[b.BlockID]
			if l == nil {
				l = &life{}
				lives[b.BlockID] = l
			}
			if op.Op == record.KVAlloc && (l.known || b.HadHash) && s.engine().Caching {
				list = append(list, again{op.OpID, int64(b.BlockID), op.TimeNS - l.birth, op.TimeNS - l.hit, l.born})
			}
			problem := l.apply(op)
			states.one(problem == "", "operation %d, block %d: %s", op.OpID, b.BlockID, problem)
			if op.Op == record.KVFree {
				inUse--
			} else {
				inUse++
			}
			at++
		}
		counts.one(at-from == int(op.Blocks), "operation %d: want %d, got %d", op.OpID, op.Blocks, at-from)
		if empty {
			want := total - num(op.FreeAfter)
			used.one(inUse == want, "operation %d: want %d, got %d", op.OpID, want, inUse)
		}
	}
	counts.one(at == len(s.blocks), "%d blocks of no operation", len(s.blocks)-at)
	return list
}

func (l *life) apply(op *record.KVUsageRow) (problem string) {
	free := op.Op == record.KVFree
	if l.known && l.used != free {
		problem = fmt.Sprintf("%s, but it is in use: %v", op.Op, l.used)
	}
	l.known, l.used = true, !free
	switch op.Op {
	case record.KVAlloc:
		l.born, l.birth, l.hit = true, op.TimeNS, op.TimeNS
	case record.KVReuse:
		l.hit = op.TimeNS
	}
	return problem
}

// checkEvictions compares the evictions with the replay. Hits on blocks in use
// leave no operation, so a block may have been idle for less than it seems.
func checkEvictions(t *table, in *input, list []again) {
	rows := map[[2]int64]*record.KVEvictionRow{}
	for i := range in.session.evictions {
		e := &in.session.evictions[i]
		rows[[2]int64{e.OpID, int64(e.BlockID)}] = e
	}
	there := t.count("evictions: a row for each block handed out again")
	known, unknown := t.count("evictions: lifetime and idle time"), t.count("evictions: births before attach are marked")
	for i := range list {
		a := &list[i]
		e := rows[[2]int64{a.op, a.block}]
		if !there.one(e != nil, "operation %d, block %d", a.op, a.block) {
			continue
		}
		delete(rows, [2]int64{a.op, a.block})
		if !a.known {
			unknown.one(!e.BirthKnown && e.BirthNS == nil, "operation %d, block %d", a.op, a.block)
			continue
		}
		known.one(e.BirthKnown && e.LifetimeNS == a.lifetime && e.IdleNS >= 0 && e.IdleNS <= a.idleAtMost,
			"operation %d, block %d: want %d and up to %d ns, got %d and %d (birth known: %v)", a.op, a.block,
			a.lifetime, a.idleAtMost, e.LifetimeNS, e.IdleNS, e.BirthKnown)
	}
	for key := range rows {
		there.one(false, "operation %d, block %d: it was never handed out before", key[0], key[1])
	}
}
