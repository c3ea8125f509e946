package wire_test

import (
	"bytes"
	"encoding/binary"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/go-quicktest/qt"

	"github.com/pmtrace/pmtrace/decode/wire"
)

// fill is a C program that writes every event of bpf/event.h with another
// value in each field, behind its length.
const fill = `
#include <stdio.h>
#include <stdint.h>
#include <string.h>
typedef uint8_t __u8; typedef uint16_t __u16; typedef uint32_t __u32; typedef uint64_t __u64;
typedef int16_t __s16; typedef int32_t __s32;
#include "event.h"
#include "cupti.h"

static unsigned char buf[4096];
static __u32 len;

static void add(const void *p, __u32 n) { memcpy(buf + len, p, n); len += n; }
static void end(void) { fwrite(&len, 4, 1, stdout); fwrite(buf, len, 1, stdout); len = 0; }
static __u64 bits(double d) { __u64 b; memcpy(&b, &d, 8); return b; }
static struct pm_hdr hdr(int kind) {
	struct pm_hdr h = { .ktime = 0x1122334455667788, .seq = 0x99aabbcc, .kind = kind, .engine = 0xdd, .version = PM_WIRE_VERSION };
	return h;
}
static struct pm_rows rows(int kind) {
	struct pm_rows r = { .hdr = hdr(kind), .step = 11, .first = 12, .rows = 2, .what = 3, .bad = 14 };
	return r;
}

int main(void)
{
	struct pm_step s = { .hdr = hdr(PM_EV_STEP), .output = 1, .began = bits(2.5), .step = 3, .tokens = 4, .rows = 5,
		.new_requests = 6, .cached_requests = 7, .finished = 8, .preempted = 9, .victims = 10, .drafts = 11,
		.encoder_inputs = 12, .running = 13, .waiting = 14, .requests = 15, .free_blocks = 16, .bad = 17 };
	add(&s, sizeof(s)); end();

	struct pm_rows r = rows(PM_EV_STEP_ROWS);
	struct pm_step_row sr[2] = { { 21, 22, 23, 24, 25 }, { .key = 31, .scheduled = 32, .computed = 33, .new_blocks = 34, .bad = 35 } };
	add(&r, sizeof(r)); add(sr, sizeof(sr)); end();

	struct pm_request q = { .hdr = hdr(PM_EV_REQUEST), .key = 1, .object = 2, .arrival = bits(3.5), .step = 4, .why = PM_REQ_SYNC,
		.prompt_tokens = 6, .tokens = 7, .computed = 8, .preemptions = 9, .max_tokens = 10, .priority = -11, .bad = 12,
		.id_bytes = 3, .id_kind = 2, .id_flags = PM_REQ_ID_CUT };
	add(&q, sizeof(q)); add("abc", 3); end();

	struct pm_prefix p = { .hdr = hdr(PM_EV_PREFIX), .key = 1, .step = 2, .group = 3, .rows = 2, .first = 5, .bad = 6 };
	__u32 ids[2] = { 7, PM_BLOCK_HASHED | 8 };
	add(&p, sizeof(p)); add(ids, sizeof(ids)); end();

	r = rows(PM_EV_KEYS);
	__u64 keys[2] = { 41, 42 };
	add(&r, sizeof(r)); add(keys, sizeof(keys)); end();

	r = rows(PM_EV_DRAFTS);
	struct pm_draft_row dr[2] = { { 51, 52, 0 }, { .key = 53, .drafts = 54 } };
	add(&r, sizeof(r)); add(dr, sizeof(dr)); end();

	struct pm_update u = { .hdr = hdr(PM_EV_UPDATE_BEGIN), .output = 1, .update = 2, .rows = 3, .bad = 4 };
	add(&u, sizeof(u)); end();

	r = rows(PM_EV_OUTPUT_ROWS);
	struct pm_output_row o[2] = { { 61, 62, -1, 64 }, { .key = 65, .tokens = 66, .finish = 3, .client = 68 } };
	add(&r, sizeof(r)); add(o, sizeof(o)); end();

	struct pm_kv k = { .hdr = hdr(PM_EV_KV), .owner = 1, .free_before = 2, .free_after = 3, .first = 4, .rows = 2,
		.op = PM_KV_FREE_FRONT, .more = 1, .blocks = 8, .bad = 9 };
	add(&k, sizeof(k)); add(ids, sizeof(ids)); end();

	struct pm_routed re = { .hdr = hdr(PM_EV_ROUTED), .output = 1, .update = 2, .rows = 3, .layers = 4, .top_k = 5, .bytes = 2,
		.state = PM_ROUTED_SENT, .first = 8, .count = 4 };
	__u16 routed[2] = { 9, 300 };
	add(&re, sizeof(re)); add(routed, sizeof(routed)); end();

	re.state = PM_ROUTED_FAULT; re.count = 0;
	add(&re, sizeof(re)); end();

	struct pm_call c = { .hdr = hdr(PM_EV_CALL), .a = 1, .b = 2, .c = 3, .began = 4, .thread = 5, .step = 6, .result = -7,
		.row = PM_ROW_EVENT_SYNC, .phase = PM_PHASE_OUTPUT_WAIT, .flags = PM_CALL_DUMMY };
	add(&c, sizeof(c)); end();

	struct pm_phase_change h = { .hdr = hdr(PM_EV_PHASE), .first = 1, .last = 2, .copied = 3, .thread = 4, .step = 5, .calls = 6,
		.launches = 7, .copies = 8, .phase = PM_PHASE_DUMMY, .before = PM_PHASE_FORWARD, .row = PM_ROW_RECV, .flags = PM_CALL_DUMMY };
	add(&h, sizeof(h)); end();

	struct pm_worker_step w = { .hdr = hdr(PM_EV_WORKER_STEP), .output = 1, .thread = 2, .step = 3, .tokens = 4, .requests = 5, .bad = 6 };
	add(&w, sizeof(w)); end();

	struct pm_hook_call hk = { .hdr = hdr(PM_EV_HOOK), .duration = 1, .result = 2, .thread = 3, .call = 4,
		.kinds = { PM_VALUE_INT, PM_VALUE_FLOAT, PM_VALUE_RAW }, .values = 3, .flags = PM_HOOK_RETURNED };
	__u64 captured[3] = { 5, bits(6.5), 7 };
	add(&hk, sizeof(hk)); add(captured, sizeof(captured)); end();

	struct pm_cupti_call cc = { .hdr = hdr(PM_EV_CUPTI_CALL), .began = 1, .ended = 2, .exec = 3, .stream = 4, .thread = 5,
		.correlation = 6, .runtime = 7 };
	add(&cc, sizeof(cc)); end();

	struct pm_cupti_replay cr = { .hdr = hdr(PM_EV_CUPTI_REPLAY), .start = 1, .end = 2, .correlation = 3, .graph = 4, .device = 5,
		.context = 6, .stream = 7 };
	add(&cr, sizeof(cr)); end();

	struct pm_cupti_kernel ck = { .hdr = hdr(PM_EV_CUPTI_KERNEL), .start = 1, .end = 2, .node = 3, .name = 4, .correlation = 5,
		.graph = 6, .device = 7, .context = 8, .stream = 9, .grid = { 10, 11, 12 }, .block = { 13, 14, 15 }, .registers = 16,
		.shared = 17 };
	add(&ck, sizeof(ck)); end();

	struct pm_cupti_copy cm = { .hdr = hdr(PM_EV_CUPTI_COPY), .start = 1, .end = 2, .node = 3, .bytes = 4, .correlation = 5,
		.graph = 6, .device = 7, .context = 8, .stream = 9, .kind = 10 };
	add(&cm, sizeof(cm)); end();

	struct pm_cupti_name cn = { .hdr = hdr(PM_EV_CUPTI_NAME), .id = 1, .bytes = 3, .flags = PM_CUPTI_NAME_CUT };
	add(&cn, sizeof(cn)); add("abc", 3); end();

	struct pm_cupti_window cw = { .hdr = hdr(PM_EV_CUPTI_WINDOW), .began = 1, .ended = 2, .number = 3, .on = 1 };
	add(&cw, sizeof(cw)); end();

	struct pm_cupti_moe mo = { .hdr = hdr(PM_EV_CUPTI_MOE), .time = 1, .ordinal = 2, .run = 3, .rows = 9, .first = 5, .count = 2,
		.top_k = 3, .bytes = 2, .experts = 300, .flags = PM_CUPTI_MOE_WEIGHTS };
	__u16 chosen[6] = { 1, 2, 299, 4, 5, 6 };
	__u16 weights[6] = { 0x3800, 0x3400, 0x3000, 0x3c00, 0x0001, 0xc000 }; /* binary16: 1/2, 1/4, 1/8, 1, 2^-24, -2 */
	add(&mo, sizeof(mo)); add(chosen, sizeof(chosen)); add(weights, sizeof(weights)); end();

	struct pm_cupti_clock cl = { .hdr = hdr(PM_EV_CUPTI_CLOCK), .before = 1, .gpu = 2, .after = 3 };
	add(&cl, sizeof(cl)); end();

	/* The names that have no field of their own. */
	__u32 names[] = { PM_ROWS, PM_ROW_GRAPH_LAUNCH, PM_ROW_LAUNCH, PM_ROW_ALL_REDUCE, PM_ROW_RECV, PM_PHASES,
		PM_CALL_FAILED, PM_CALL_THROWAWAY, PM_CALL_DUMMY,
		PM_HOOK_RAISED, PM_HOOK_VALUES, PM_VALUE_NOT, PM_VALUE_BOOL, PM_VALUE_LENGTH, PM_VALUE_NONE, PM_VALUE_BIG, PM_VALUE_OTHER };
	add(names, sizeof(names)); end();
	return 0;
}
`

// TestLayout reads back what the C side's structs hold.
func TestLayout(t *testing.T) {
	cc, err := exec.LookPath("cc")
	if err != nil {
		t.Skip("no C compiler")
	}
	include, err := filepath.Abs("../../bpf")
	qt.Assert(t, qt.IsNil(err))
	source := filepath.Join(t.TempDir(), "fill.c")
	qt.Assert(t, qt.IsNil(os.WriteFile(source, []byte(fill), 0o600)))
	program := filepath.Join(t.TempDir(), "fill")
	out, err := exec.Command(cc, "-Wall", "-I", include, "-o", program, source).CombinedOutput()
	qt.Assert(t, qt.IsNil(err), qt.Commentf("%s", out))
	out, err = exec.Command(program).Output()
	qt.Assert(t, qt.IsNil(err))

	next := func(kind wire.Kind) (wire.Header, []byte) {
		t.Helper()
		n := binary.LittleEndian.Uint32(out)
		b := out[4 : 4+n]
		out = out[4+n:]
		var h wire.Header
		qt.Assert(t, qt.IsNil(h.Read(b)))
		qt.Assert(t, qt.Equals(h, wire.Header{Ktime: 0x1122334455667788, Seq: 0x99aabbcc, Kind: kind, Engine: 0xdd, Version: wire.Version}))
		return h, b
	}
	head := func(h wire.Header) wire.Rows {
		return wire.Rows{Header: h, Step: 11, First: 12, Rows: 2, What: 3, Bad: 14}
	}

	h, b := next(wire.KindStep)
	var step wire.Step
	qt.Assert(t, qt.IsNil(step.Read(h, b)))
	qt.Assert(t, qt.Equals(step, wire.Step{
		Header: h, Output: 1, Began: 2.5, Step: 3, Tokens: 4, Rows: 5, NewRequests: 6, CachedRequests: 7, Finished: 8,
		Preempted: 9, Victims: 10, Drafts: 11, EncoderInputs: 12, Running: 13, Waiting: 14, Requests: 15, FreeBlocks: 16, Bad: 17,
	}))

	h, b = next(wire.KindStepRows)
	var rows wire.StepRows
	qt.Assert(t, qt.IsNil(rows.Read(h, b)))
	qt.Assert(t, qt.Equals(rows.Rows, head(h)))
	qt.Assert(t, qt.Equals(rows.Len(), 2))
	qt.Assert(t, qt.Equals(rows.At(0), wire.StepRow{Key: 21, Scheduled: 22, Computed: 23, NewBlocks: 24, Bad: 25}))
	qt.Assert(t, qt.Equals(rows.At(1), wire.StepRow{Key: 31, Scheduled: 32, Computed: 33, NewBlocks: 34, Bad: 35}))

	h, b = next(wire.KindRequest)
	var req wire.Request
	qt.Assert(t, qt.IsNil(req.Read(h, b)))
	id := bytes.Clone(req.ID)
	req.ID = nil
	qt.Assert(t, qt.DeepEquals(req, wire.Request{
		Header: h, Key: 1, Object: 2, Arrival: 3.5, Step: 4, Why: wire.WhySync, PromptTokens: 6, Tokens: 7, Computed: 8,
		Preemptions: 9, MaxTokens: 10, Priority: -11, Bad: 12, IDKind: 2, IDFlags: wire.IDCut,
	}))
	qt.Assert(t, qt.Equals(string(id), "abc"))

	h, b = next(wire.KindPrefix)
	var prefix wire.Prefix
	qt.Assert(t, qt.IsNil(prefix.Read(h, b)))
	qt.Assert(t, qt.Equals(prefix.Key, 1))
	qt.Assert(t, qt.Equals(prefix.Step, 2))
	qt.Assert(t, qt.Equals(prefix.Group, 3))
	qt.Assert(t, qt.Equals(prefix.First, 5))
	qt.Assert(t, qt.Equals(prefix.Bad, 6))
	qt.Assert(t, qt.Equals(prefix.Len(), 2))
	qt.Assert(t, qt.Equals(prefix.At(0), 7))
	qt.Assert(t, qt.Equals(prefix.At(1), 8))

	h, b = next(wire.KindKeys)
	var keys wire.Keys
	qt.Assert(t, qt.IsNil(keys.Read(h, b)))
	qt.Assert(t, qt.Equals(keys.Rows, head(h)))
	qt.Assert(t, qt.Equals(keys.Len(), 2))
	qt.Assert(t, qt.Equals(keys.At(0), 41))
	qt.Assert(t, qt.Equals(keys.At(1), 42))

	h, b = next(wire.KindDrafts)
	var drafts wire.Drafts
	qt.Assert(t, qt.IsNil(drafts.Read(h, b)))
	qt.Assert(t, qt.Equals(drafts.At(0), wire.DraftRow{Key: 51, Drafts: 52}))
	qt.Assert(t, qt.Equals(drafts.At(1), wire.DraftRow{Key: 53, Drafts: 54}))

	h, b = next(wire.KindUpdateBegin)
	var update wire.Update
	qt.Assert(t, qt.IsNil(update.Read(h, b)))
	qt.Assert(t, qt.Equals(update, wire.Update{Header: h, Output: 1, Update: 2, Rows: 3, Bad: 4}))

	h, b = next(wire.KindOutputRows)
	var output wire.OutputRows
	qt.Assert(t, qt.IsNil(output.Read(h, b)))
	qt.Assert(t, qt.Equals(output.At(0), wire.OutputRow{Key: 61, Tokens: 62, Finish: -1, Client: 64}))
	qt.Assert(t, qt.Equals(output.At(1), wire.OutputRow{Key: 65, Tokens: 66, Finish: 3, Client: 68}))

	h, b = next(wire.KindKV)
	var kv wire.KV
	qt.Assert(t, qt.IsNil(kv.Read(h, b)))
	qt.Assert(t, qt.Equals(kv.Owner, 1))
	qt.Assert(t, qt.Equals(kv.FreeBefore, 2))
	qt.Assert(t, qt.Equals(kv.FreeAfter, 3))
	qt.Assert(t, qt.Equals(kv.First, 4))
	qt.Assert(t, qt.Equals(kv.Op, wire.OpFreeFront))
	qt.Assert(t, qt.IsTrue(kv.More))
	qt.Assert(t, qt.Equals(kv.Blocks, 8))
	qt.Assert(t, qt.Equals(kv.Bad, 9))
	first, hashed := kv.At(0)
	qt.Assert(t, qt.Equals(first, 7))
	qt.Assert(t, qt.IsFalse(hashed))
	second, hashed := kv.At(1)
	qt.Assert(t, qt.Equals(second, 8))
	qt.Assert(t, qt.IsTrue(hashed))

	h, b = next(wire.KindRouted)
	var routed wire.Routed
	qt.Assert(t, qt.IsNil(routed.Read(h, b)))
	qt.Assert(t, qt.DeepEquals(routed, wire.Routed{
		Header: h, Output: 1, Update: 2, Rows: 3, Layers: 4, TopK: 5, Bytes: 2, First: 8, IDs: []byte{9, 0, 44, 1},
	}))
	qt.Assert(t, qt.Equals(routed.Size(), 3*4*5*2))

	h, b = next(wire.KindRouted)
	qt.Assert(t, qt.IsNil(routed.Read(h, b)))
	qt.Assert(t, qt.Equals(routed.State, wire.RoutedFault))
	qt.Assert(t, qt.HasLen(routed.IDs, 0))

	h, b = next(wire.KindCall)
	var call wire.Call
	qt.Assert(t, qt.IsNil(call.Read(h, b)))
	qt.Assert(t, qt.Equals(call, wire.Call{
		Header: h, A: 1, B: 2, C: 3, Began: 4, Thread: 5, Step: 6, Result: -7,
		Row: wire.RowEventSync, Phase: wire.PhaseOutputWait, Flags: wire.CallDummy,
	}))

	h, b = next(wire.KindPhase)
	var change wire.PhaseChange
	qt.Assert(t, qt.IsNil(change.Read(h, b)))
	qt.Assert(t, qt.Equals(change, wire.PhaseChange{
		Header: h, First: 1, Last: 2, Copied: 3, Thread: 4, Step: 5, Calls: 6, Launches: 7, Copies: 8,
		Phase: wire.PhaseDummy, Before: wire.PhaseForward, Row: wire.RowRecv, Flags: wire.CallDummy,
	}))

	h, b = next(wire.KindWorkerStep)
	var worker wire.WorkerStep
	qt.Assert(t, qt.IsNil(worker.Read(h, b)))
	qt.Assert(t, qt.Equals(worker, wire.WorkerStep{Header: h, Output: 1, Thread: 2, Step: 3, Tokens: 4, Requests: 5, Bad: 6}))

	h, b = next(wire.KindHook)
	var hk wire.Hook
	qt.Assert(t, qt.IsNil(hk.Read(h, b)))
	qt.Assert(t, qt.DeepEquals(hk, wire.Hook{
		Header: h, Duration: 1, Result: 2, Thread: 3, Call: 4, Flags: wire.HookReturned, Values: []wire.HookValue{
			{Kind: wire.ValueInt, Bits: 5}, {Kind: wire.ValueFloat, Bits: math.Float64bits(6.5)}, {Kind: wire.ValueRaw, Bits: 7},
		},
	}))

	h, b = next(wire.KindCUPTICall)
	var launched wire.CUPTICall
	qt.Assert(t, qt.IsNil(launched.Read(h, b)))
	qt.Assert(t, qt.Equals(launched, wire.CUPTICall{Header: h, Began: 1, Ended: 2, Exec: 3, Stream: 4, Thread: 5, Correlation: 6, Runtime: 7}))

	h, b = next(wire.KindCUPTIReplay)
	var cr wire.CUPTIReplay
	qt.Assert(t, qt.IsNil(cr.Read(h, b)))
	qt.Assert(t, qt.Equals(cr, wire.CUPTIReplay{Header: h, Start: 1, End: 2, Correlation: 3, Graph: 4, Device: 5, Context: 6, Stream: 7}))

	h, b = next(wire.KindCUPTIKernel)
	var ck wire.CUPTIKernel
	qt.Assert(t, qt.IsNil(ck.Read(h, b)))
	qt.Assert(t, qt.Equals(ck, wire.CUPTIKernel{
		Header: h, Start: 1, End: 2, Node: 3, Name: 4, Correlation: 5, Graph: 6, Device: 7, Context: 8, Stream: 9,
		Grid: [3]uint32{10, 11, 12}, Block: [3]uint16{13, 14, 15}, Registers: 16, Shared: 17,
	}))

	h, b = next(wire.KindCUPTICopy)
	var cm wire.CUPTICopy
	qt.Assert(t, qt.IsNil(cm.Read(h, b)))
	qt.Assert(t, qt.Equals(cm, wire.CUPTICopy{
		Header: h, Start: 1, End: 2, Node: 3, Bytes: 4, Correlation: 5, Graph: 6, Device: 7, Context: 8, Stream: 9, Kind: 10,
	}))

	h, b = next(wire.KindCUPTIName)
	var cn wire.CUPTIName
	qt.Assert(t, qt.IsNil(cn.Read(h, b)))
	qt.Assert(t, qt.Equals(cn.ID, 1))
	qt.Assert(t, qt.Equals(cn.Flags, wire.CUPTINameCut))
	qt.Assert(t, qt.Equals(string(cn.Name), "abc"))

	h, b = next(wire.KindCUPTIWindow)
	var cw wire.CUPTIWindow
	qt.Assert(t, qt.IsNil(cw.Read(h, b)))
	qt.Assert(t, qt.Equals(cw, wire.CUPTIWindow{Header: h, Began: 1, Ended: 2, Number: 3, On: true}))

	h, b = next(wire.KindCUPTIMoE)
	var mo wire.CUPTIMoE
	qt.Assert(t, qt.IsNil(mo.Read(h, b)))
	qt.Assert(t, qt.Equals(mo.ID(0, 2), 299))
	qt.Assert(t, qt.Equals(mo.ID(1, 1), 5))
	qt.Assert(t, qt.Equals(mo.Weight(0, 1), 0.25))
	qt.Assert(t, qt.Equals(mo.Weight(1, 1), 1.0/(1<<24)))
	qt.Assert(t, qt.Equals(mo.Weight(1, 2), -2))
	mo.IDs, mo.Weights = nil, nil
	qt.Assert(t, qt.DeepEquals(mo, wire.CUPTIMoE{
		Header: h, Time: 1, Ordinal: 2, Run: 3, Rows: 9, First: 5, Count: 2, TopK: 3, Bytes: 2, Experts: 300, Flags: wire.CUPTIMoEWeights,
	}))

	h, b = next(wire.KindCUPTIClock)
	var cl wire.CUPTIClock
	qt.Assert(t, qt.IsNil(cl.Read(h, b)))
	qt.Assert(t, qt.Equals(cl, wire.CUPTIClock{Header: h, Before: 1, GPU: 2, After: 3}))

	n := binary.LittleEndian.Uint32(out)
	var names []int
	for b := out[4 : 4+n]; len(b) > 0; b = b[4:] {
		names = append(names, int(binary.LittleEndian.Uint32(b)))
	}
	out = out[4+n:]
	qt.Assert(t, qt.DeepEquals(names, []int{
		32, int(wire.RowGraphLaunch), int(wire.RowLaunch), int(wire.RowAllReduce), int(wire.RowRecv), int(wire.Phases),
		wire.CallFailed, wire.CallThrowaway, wire.CallDummy, wire.HookRaised, wire.MaxHookValues,
		int(wire.ValueNot), int(wire.ValueBool), int(wire.ValueLength), int(wire.ValueNone), int(wire.ValueBig), int(wire.ValueOther),
	}))
	qt.Assert(t, qt.HasLen(out, 0))
}
