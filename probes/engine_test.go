package probes

import (
	"testing"

	"github.com/go-quicktest/qt"

	"github.com/pmtrace/pmtrace/bpf"
	"github.com/pmtrace/pmtrace/probes/cpython"
	"github.com/pmtrace/pmtrace/probes/hook"
	"github.com/pmtrace/pmtrace/probes/vllm"
)

// Fields that were not found are not read at offset 0.
func TestUnknownFields(t *testing.T) {
	whole := vllm.Engine{OutputsList: 32, OutputID: 16, OutputTokens: 80, OutputFinish: 32}
	for _, test := range []struct {
		name    string
		change  func(*vllm.Engine)
		watched bool
		bytes   uint16
	}{
		{"all", func(*vllm.Engine) {}, true, 88},
		{"no finish reason", func(e *vllm.Engine) { e.OutputFinish = 0 }, true, 88},
		{"no list", func(e *vllm.Engine) { e.OutputsList = 0 }, false, 0},
		{"no id", func(e *vllm.Engine) { e.OutputID = 0 }, false, 0},
		{"no tokens", func(e *vllm.Engine) { e.OutputTokens = 0 }, false, 0},
		{"the last that fits", func(e *vllm.Engine) { e.OutputTokens = 248 }, true, 256},
		{"too far", func(e *vllm.Engine) { e.OutputTokens = 256 }, false, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := whole
			test.change(&e)
			c := bpf.SchedulerPmEngine{UpdateReturn: 1}
			outputs(&c, &e)
			qt.Assert(t, qt.Equals(c.UpdateReturn != 0, test.watched))
			qt.Assert(t, qt.Equals(c.OutBytes, test.bytes))
		})
	}
}

func TestUnknownBlocks(t *testing.T) {
	inline := func(i int) cpython.Storage { return cpython.Storage{Kind: cpython.StorageInline, Index: i} }
	slot := func(at int) cpython.Storage { return cpython.Storage{Kind: cpython.StorageSlot, Offset: at} }
	for _, test := range []struct {
		name           string
		id, hash, next cpython.Storage
		bytes          uint32
	}{
		{"inline", inline(0), inline(2), inline(4), 40},
		{"slots", slot(16), slot(32), slot(48), 56},
		{"one missing", inline(0), cpython.Storage{}, inline(4), 0},
		{"all missing", cpython.Storage{}, cpython.Storage{}, cpython.Storage{}, 0},
		{"too far", slot(16), slot(32), slot(128), 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			list := uint16(bpf.SchedulerPmOpBlocksPM_OP_LIST)
			c := bpf.SchedulerPmEngine{}
			c.Ops[0].Blocks = list
			blockLayout(&c, &vllm.Engine{BlockID: test.id, BlockHash: test.hash, BlockNext: test.next})
			qt.Assert(t, qt.Equals(c.BlockBytes, test.bytes))
			qt.Assert(t, qt.Equals(c.Ops[0].Blocks == list, test.bytes > 0))
		})
	}
}

// The programs have room for what a hook may say.
func TestHookRoom(t *testing.T) {
	var c bpf.HooksPmHook
	qt.Check(t, qt.HasLen(c.Arg, hook.MaxArguments))
	qt.Check(t, qt.HasLen(c.Arg[0].Step, hook.MaxSteps))
	qt.Check(t, qt.Equals(8*len(c.Arg[0].Step[0].Name), hook.MaxName))
	s := attributeName("num_prompt_tokens")
	qt.Check(t, qt.Equals(s.Bytes, 17))
	qt.Check(t, qt.DeepEquals(s.Name[:], []uint64{0x6d6f72705f6d756e, 0x6e656b6f745f7470, 0x73, 0, 0, 0}))
}
