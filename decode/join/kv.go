package join

import (
	"math"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/decode/wire"
)

// maxOps bounds the queue operations that wait for their schedule call.
const maxOps = 1 << 14

// unreadBlock is a block id that could not be read, its hash bit taken off.
const unreadBlock = wire.Unknown &^ (1 << 31)

// kv is what is known of an engine's block pool.
type kv struct {
	ops    []kvOp
	blocks []uint32 // of the ops; the highest bit: hashed
	nextOp int64
	after  int64 // free blocks after the newest operation; -1: unknown
	seen   bool  // an operation was applied
	// Like the engine's epoch, but a new one begins also where the operations
	// themselves show that one is missing.
	current uint32
	epoch   uint32 // of what was applied last
	since   int64  // when epoch began
	entered bool   // since is known
	table   []block
}

// kvOp is an operation on the free block queue.
type kvOp struct {
	id            int64
	time          int64
	owner         uint64
	before, after int64 // free blocks; -1: unknown
	from, to      int   // in kv.blocks
	count         int32 // blocks, also where some are not listed
	op            wire.KVOp
	more          bool // its list goes on in the next event
	whole         bool // every block is listed and was read
	epoch         uint32
	since         int64
}

// block is the life of a block. What it says of a life holds in epoch only; a
// later epoch knows that there was one.
type block struct {
	birth, access, released int64 // unset where unknown
	owner                   int64 // request that it was born for; -1: unknown
	epoch                   uint32
	window                  uint32 // of the newest touch by reuse, plus one
	toucher                 int64  // request of that touch
	hits                    int32
	state                   blockState
	lived                   bool // it held something, in this epoch or before
}

type blockState uint8

const (
	blockUnknown blockState = iota
	blockUsed
	blockFree
)

// KV takes an operation on the free block queue, or more of its blocks.
func (j *Joiner) KV(ev *wire.KV) error {
	e, t := j.enter(&ev.Header)
	e.closeCall()
	e.closeUpdate()
	k := &e.kv
	j.unreadable("free_blocks", ev.Bad)
	op := e.operationOf(ev, t)
	for i := range ev.Len() {
		id, hashed := ev.At(i)
		if hashed {
			id |= 1 << 31
		}
		k.blocks = append(k.blocks, id)
	}
	op.to = len(k.blocks)
	op.more = ev.More
	op.whole = op.whole && ev.Bad&(wire.BadBlocks|wire.BadCut) == 0
	if !op.more && op.to-op.from != int(op.count) {
		op.whole = false
	}
	if len(k.ops) > maxOps && !op.more {
		e.flushOps(math.MaxInt64, nil)
	}
	return j.err
}

// operationOf is the operation that the event goes on with, or a new one.
func (e *engine) operationOf(ev *wire.KV, t int64) *kvOp {
	k := &e.kv
	if n := len(k.ops); n > 0 {
		op := &k.ops[n-1]
		if op.more && ev.First == uint32(op.to-op.from) && ev.First > 0 && op.epoch == k.current {
			return op
		}
		if op.more { // the rest of its list is lost
			op.more, op.whole = false, false
		}
	}
	k.ops = append(k.ops, kvOp{
		id: k.nextOp, time: t, owner: ev.Owner, op: ev.Op,
		before: int64(count(ev.FreeBefore)), after: int64(count(ev.FreeAfter)),
		from: len(k.blocks), count: max(count(ev.Blocks), 0), epoch: k.current, since: e.since,
		whole: ev.First == 0 && ev.Blocks != wire.Unknown,
	})
	k.nextOp++
	if after := int64(count(ev.FreeAfter)); after >= 0 {
		e.free = after
	}
	return &k.ops[len(k.ops)-1]
}

// flushOps applies the operations up to a time. st is the schedule call that
// they were part of, nil between calls.
func (e *engine) flushOps(until int64, st *step) {
	k := &e.kv
	n := 0
	for n < len(k.ops) && k.ops[n].time <= until {
		e.apply(&k.ops[n], st)
		n++
	}
	switch {
	case n == len(k.ops):
		k.ops, k.blocks = k.ops[:0], k.blocks[:0]
	case n > 0:
		k.ops = append(k.ops[:0], k.ops[n:]...)
	}
}

func (e *engine) apply(op *kvOp, st *step) {
	k := &e.kv
	ptr := e.j.ptr
	e.j.stats.KVOperations++
	e.checkCounter(op)
	k.enter(op.epoch, op.since)
	k.seen = true
	k.after = op.after

	uid := int64(-1)
	if r := e.byObject[op.owner]; r != nil && op.owner != 0 && e.trusted(r) {
		uid = r.uid
		e.owned(r, op)
	}
	var owner *int64
	if uid >= 0 {
		owner = ptr.int64(uid)
	}
	usage := &e.j.rows.usage
	*usage = record.KVUsageRow{
		Engine: e.id, OpID: op.id, TimeNS: op.time, Op: opName(op.op),
		Blocks: op.count, FreeAfter: ptr.count(int32(op.after)), RequestUID: owner,
	}
	if st != nil {
		usage.StepID = ptr.int64(int64(st.num))
	}
	e.j.check(e.j.sink.KVUsage(usage))
	for _, id := range k.blocks[op.from:op.to] {
		hashed := id>>31 != 0
		id &^= 1 << 31
		if id == unreadBlock {
			continue
		}
		row := &e.j.rows.block
		*row = record.KVBlockRow{
			Engine: e.id, OpID: op.id, TimeNS: op.time, BlockID: int32(id),
			Op: usage.Op, HadHash: hashed, RequestUID: owner,
		}
		e.j.check(e.j.sink.KVBlock(row))
		e.applyBlock(op, id, hashed, uid, owner)
	}
	if !op.whole || op.op == wire.OpOther {
		e.distrustBlocks(op)
	}
}

func opName(op wire.KVOp) string {
	switch op {
	case wire.OpAlloc:
		return record.KVAlloc
	case wire.OpReuse:
		return record.KVReuse
	case wire.OpFree, wire.OpFreeFront:
		return record.KVFree
	}
	return record.KVOther
}

// enter makes epoch the one that the blocks' lives are told in.
func (k *kv) enter(epoch uint32, since int64) {
	if k.epoch != epoch || !k.entered {
		k.epoch, k.since, k.entered = epoch, since, true
	}
}

// checkCounter compares the counter's values with what happened: a step between
// them that no event has told of is a loss.
func (e *engine) checkCounter(op *kvOp) {
	k := &e.kv
	if k.seen && k.epoch == op.epoch && k.after >= 0 && op.before >= 0 && k.after != op.before {
		e.j.losses.add(lossKey{e.id, "free_blocks", "counter_jumped"}, op.time, op.time, 1)
		e.distrustBlocks(op)
	}
	if op.before < 0 || op.after < 0 || op.op == wire.OpOther {
		return
	}
	n := int64(op.count)
	if op.op == wire.OpAlloc || op.op == wire.OpReuse {
		n = -n
	}
	if op.after-op.before != n {
		e.j.losses.add(lossKey{e.id, "free_blocks", "counter_mismatch"}, op.time, op.time, 1)
	}
}

// distrustBlocks begins a new epoch of the blocks at op: another one happened
// that no event has told of in full.
func (e *engine) distrustBlocks(op *kvOp) {
	k := &e.kv
	k.current++
	k.epoch, k.since = k.current, op.time
	e.since = max(e.since, op.time)
	for i := range k.ops {
		if later := &k.ops[i]; later.id >= op.id {
			later.epoch, later.since = k.current, op.time
		}
	}
}

// owned takes note of an operation in its request.
func (e *engine) owned(r *request, op *kvOp) {
	window := e.window + 1
	switch op.op {
	case wire.OpFree, wire.OpFreeFront:
		if r.freeWindow != window {
			r.freeWindow, r.freed = window, 0
		}
		r.freed = sum(r.freed, op.count)
		r.freedAt = op.time
	case wire.OpAlloc, wire.OpReuse:
		if r.allocWindow != window {
			r.allocWindow, r.alloced, r.allocAt = window, 0, op.time
		}
		if op.op == wire.OpAlloc {
			r.alloced = sum(r.alloced, op.count)
		}
	}
}

// The table's bounds: no pool has as many blocks, and one of unknown size is
// not followed far, since its ids may be anything.
const (
	maxBlocks    = 1 << 26
	maxUnbounded = 1 << 18
)

// block is the entry of a block, which is made to say nothing of a life before
// the last loss; nil where there can be no such block.
func (e *engine) block(id uint32) *block {
	k := &e.kv
	limit := uint32(maxUnbounded)
	if e.fact.Blocks > 0 {
		limit = uint32(min(e.fact.Blocks, maxBlocks))
	}
	if id == 0 || id >= limit {
		return nil
	}
	for uint32(len(k.table)) <= id {
		k.table = append(k.table, block{birth: unset, access: unset, released: unset, owner: -1})
	}
	b := &k.table[id]
	if b.epoch != k.epoch {
		*b = block{birth: unset, access: unset, released: unset, owner: -1, epoch: k.epoch, lived: b.lived}
	}
	return b
}

func (e *engine) applyBlock(op *kvOp, id uint32, hashed bool, uid int64, owner *int64) {
	b := e.block(id)
	if b == nil {
		if id != 0 {
			e.j.losses.add(lossKey{e.id, "free_blocks", "no_such_block"}, op.time, op.time, 1)
		}
		return
	}
	switch op.op {
	case wire.OpAlloc:
		e.expect(b, op, blockFree, "block_allocated_twice")
		if e.fact.Caching && (b.lived || hashed) {
			e.evict(b, op, id, hashed, owner)
		}
		*b = block{
			birth: op.time, access: op.time, released: unset, owner: uid,
			epoch: b.epoch, state: blockUsed, lived: true,
		}
	case wire.OpReuse:
		e.expect(b, op, blockFree, "block_reused_in_use")
		b.access = op.time
		b.hits++
		b.window, b.toucher = e.window+1, uid
		b.state, b.lived = blockUsed, true
	case wire.OpFree, wire.OpFreeFront:
		e.expect(b, op, blockUsed, "block_freed_twice")
		b.released = op.time
		b.state, b.lived = blockFree, true
	default:
		b.state, b.lived = blockUnknown, true
	}
}

func (e *engine) expect(b *block, op *kvOp, want blockState, reason string) {
	if b.state != blockUnknown && b.state != want {
		e.j.losses.add(lossKey{e.id, "free_blocks", reason}, op.time, op.time, 1)
	}
}

// evict hands on the end of a block's life: it is handed out again. vLLM's
// collector reports this for every block that was handed out before, whether or
// not it had a hash.
func (e *engine) evict(b *block, op *kvOp, id uint32, hashed bool, taker *int64) {
	ptr := e.j.ptr
	since := e.kv.since
	row := &e.j.rows.eviction
	*row = record.KVEvictionRow{
		Engine: e.id, TimeNS: op.time, OpID: op.id, BlockID: int32(id), HadHash: hashed,
		LifetimeNS: op.time - since, IdleNS: op.time - since, Hits: b.hits, TakenByUID: taker,
	}
	if b.birth != unset {
		row.BirthKnown = true
		row.LifetimeNS = op.time - b.birth
		row.BirthNS = ptr.int64(b.birth)
		if b.owner >= 0 {
			row.RequestUID = ptr.int64(b.owner)
		}
	}
	if b.access != unset {
		row.IdleNS = op.time - b.access
	}
	if b.released != unset {
		row.ReleasedNS = ptr.int64(b.released)
		row.UnusedNS = ptr.int64(op.time - b.released)
	}
	e.j.stats.Evictions++
	e.j.check(e.j.sink.KVEviction(row))
}

// touch takes the blocks that r found in the prefix cache: those that were free
// have a reuse operation, which was the touch; the ones in use have only this.
func (e *engine) touch(r *request, ids []uint32, started int64) {
	k := &e.kv
	if !e.watch.blocks {
		return
	}
	t := started
	if r.allocWindow == e.window+1 {
		t = r.allocAt
	}
	k.enter(k.current, e.since)
	for _, id := range ids {
		b := e.block(id)
		if b == nil || b.window == e.window+1 && b.toucher == r.uid {
			continue
		}
		b.access = t
		b.hits++
		b.lived = true
	}
}
