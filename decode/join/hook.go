package join

import (
	"encoding/json"
	"math"
	"strconv"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/decode/wire"
)

// hook is a function that the user named, in one process.
type hook struct {
	fact   record.Hook
	keys   []string // of the arguments, as JSON
	thread int32
}

// hookFact takes what is said of a hook.
func (j *Joiner) hookFact(f *record.Hook) {
	if f.Hook < 0 || f.Hook >= len(j.hooks) {
		j.AddLoss("decode", "hook_index", 1)
		return
	}
	h := &hook{fact: *f, thread: int32(f.Thread)}
	for _, a := range f.Arguments {
		key, _ := json.Marshal(a.Name) // a string can be written
		h.keys = append(h.keys, string(key))
	}
	j.hooks[f.Hook] = h
}

// Hook takes a call of a function that the user named. What is missing is counted
// by the kernel, by hook.
func (j *Joiner) Hook(ev *wire.Hook) error {
	h := j.hooks[ev.Engine]
	if h == nil {
		j.AddLoss("decode", "hook_unknown", 1)
		return j.err
	}
	row := &j.rows.hook
	*row = record.HookRow{
		Engine: j.ptr.narrow(h.fact.Engine), Hook: h.fact.Name, PID: int32(h.fact.PID), Thread: h.thread,
		Call: int64(ev.Call), TimeNS: j.time(ev.Ktime), Arguments: j.arguments(h, ev.Values),
	}
	if ev.Thread != 0 {
		row.Thread = int32(ev.Thread)
	}
	switch {
	case ev.Flags&wire.HookReturned != 0:
		row.DurNS, row.Outcome = j.ptr.int64(int64(ev.Duration)), &j.returned
		if h.fact.Result != "" {
			row.Result = j.ptr.int64(typed(h.fact.Result, ev.Result))
		}
	case ev.Flags&wire.HookRaised != 0:
		row.Outcome = &j.raised
	}
	j.check(j.sink.Hook(row))
	return j.err
}

// arguments writes captured values as a JSON object, in the order in which they were
// asked for.
func (j *Joiner) arguments(h *hook, values []wire.HookValue) string {
	if len(values) == 0 {
		return "{}"
	}
	b := append(j.text[:0], '{')
	for i, v := range values {
		if i > 0 {
			b = append(b, ',')
		}
		key, kind := strconv.Quote(strconv.Itoa(i)), ""
		if i < len(h.keys) {
			key, kind = h.keys[i], h.fact.Arguments[i].Type
		}
		b = append(append(b, key...), ':')
		b = appendValue(b, v, kind)
	}
	j.text = append(b, '}')
	return string(j.text)
}

// appendValue writes a value as JSON; null where there is none, or none that JSON has.
func appendValue(b []byte, v wire.HookValue, kind string) []byte {
	switch v.Kind {
	case wire.ValueInt:
		return strconv.AppendInt(b, int64(v.Bits), 10)
	case wire.ValueLength:
		return strconv.AppendUint(b, v.Bits, 10)
	case wire.ValueBool:
		return strconv.AppendBool(b, v.Bits != 0)
	case wire.ValueFloat:
		if f := math.Float64frombits(v.Bits); !math.IsNaN(f) && !math.IsInf(f, 0) {
			return strconv.AppendFloat(b, f, 'g', -1, 64)
		}
	case wire.ValueRaw:
		if kind == "u64" || kind == "ptr" {
			return strconv.AppendUint(b, v.Bits, 10)
		}
		return strconv.AppendInt(b, typed(kind, v.Bits), 10)
	}
	return append(b, "null"...)
}

// typed is what a register's bits mean; of 64 unsigned ones those of int64.
func typed(kind string, bits uint64) int64 {
	switch kind {
	case "i32":
		return int64(int32(bits))
	case "u32":
		return int64(uint32(bits))
	}
	return int64(bits)
}
