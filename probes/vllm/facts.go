package vllm

import (
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pmtrace/pmtrace/decode/record"
)

// facts reads what the session says of the engine. What is not there stays
// zero: these are descriptions, no measurement depends on them but the block
// and iteration counts.
func (r *resolver) facts() {
	rt, e, f := r.rt, r.e, &r.e.fact
	f.PID = e.PID
	f.Thread = e.Thread
	f.MonoNS = monotonic()
	f.Python = rt.Version().String()
	f.VLLM = r.moduleString(modVersion, "__version__")
	if t, err := rt.Type(e.Scheduler); err == nil {
		f.Scheduler = t.Name
	}
	config, err := rt.Attr(e.Scheduler, "vllm_config")
	if err != nil {
		config, err = rt.Attr(r.core, "vllm_config")
	}
	if err != nil {
		r.missing("vllm_config", err)
	}
	num := func(to *int, path ...string) {
		if obj, err := rt.AttrPath(config, path...); err == nil {
			if v, err := rt.Int(obj); err == nil {
				*to = int(v)
			}
		}
	}
	flag := func(to *bool, path ...string) {
		if obj, err := rt.AttrPath(config, path...); err == nil {
			if v, err := rt.Bool(obj); err == nil {
				*to = v
			}
		}
	}
	text := func(to *string, path ...string) {
		obj, err := rt.AttrPath(config, path...)
		if err != nil {
			return
		}
		if v, err := rt.Str(obj); err == nil {
			*to = v
		} else if en, err := rt.Enum(obj); err == nil {
			*to = strings.ToLower(en.Name)
		}
	}
	text(&f.Model, "model_config", "model")
	text(&f.KVCacheType, "cache_config", "cache_dtype")
	f.ModelConfig = r.modelConfig(config)
	f.MoELayers = r.moeLayers(config)
	f.Experts = r.experts(config)
	text(&f.Device, "device_config", "device_type")
	text(&f.Policy, "scheduler_config", "policy")
	num(&f.TP, "parallel_config", "tensor_parallel_size")
	num(&f.PP, "parallel_config", "pipeline_parallel_size")
	num(&f.DP, "parallel_config", "data_parallel_size")
	num(&f.DataParallel, "parallel_config", "data_parallel_rank")
	// 0.15: ranks that share nothing are all of rank 0 in a group of 1, and this is left of them.
	num(&f.DataParallel, "parallel_config", "data_parallel_index")
	num(&f.MaxSeqs, "scheduler_config", "max_num_seqs")
	num(&f.MaxTokens, "scheduler_config", "max_num_batched_tokens")
	num(&f.MaxModelLen, "model_config", "max_model_len")
	num(&f.BlockSize, "cache_config", "block_size")
	flag(&f.Caching, "cache_config", "enable_prefix_caching")
	flag(&f.AsyncSched, "scheduler_config", "async_scheduling")
	if f.Scheduler == "AsyncScheduler" {
		f.AsyncSched = true
	}

	own := func(to *int, obj uint64, path ...string) {
		if at, err := rt.AttrPath(obj, path...); err == nil {
			if v, err := rt.Int(at); err == nil {
				*to = int(v)
			}
		}
	}
	own(&f.BlockSize, e.Scheduler, "block_size")
	own(&f.SpecTokens, e.Scheduler, "num_spec_tokens")
	own(&f.Blocks, e.Scheduler, "kv_cache_manager", "block_pool", "num_gpu_blocks")
	own(&f.FreeBlocks, e.Scheduler, "kv_cache_manager", "block_pool", "free_block_queue", "num_free_blocks")
	if obj, err := rt.AttrPath(e.Scheduler, "kv_cache_manager", "block_pool", "enable_caching"); err == nil {
		if v, err := rt.Bool(obj); err == nil {
			f.Caching = v
		}
	}
	if obj, err := rt.Attr(e.Scheduler, "use_v2_model_runner"); err == nil {
		f.V2Runner, _ = rt.Bool(obj)
	}
	if obj, err := rt.Attr(e.Scheduler, "log_stats"); err == nil {
		f.LogStats, _ = rt.Bool(obj)
	}
	if f.Blocks == 0 {
		r.missing("BlockPool.num_gpu_blocks", nil)
	}
	if f.BlockSize == 0 {
		r.missing("Scheduler.block_size", nil)
	}
	r.iteration()
	r.finishReasons()
}

// iteration finds vLLM's number of the next step. It is sure only while no
// request is in flight; an engine that never ran a step is at 0.
func (r *resolver) iteration() {
	rt, e, f := r.rt, r.e, &r.e.fact
	requests, err := rt.Attr(e.Scheduler, "requests")
	if err != nil {
		return
	}
	if n, err := rt.DictLen(requests); err != nil || n != 0 {
		return
	}
	if obj, err := rt.Attr(r.core, "_iteration_index"); err == nil {
		if v, err := rt.Int(obj); err == nil {
			f.Iteration = &v
		}
		return
	}
	// The attribute appears with the first logged step; current_step (0.25+)
	// tells whether there was any.
	if obj, err := rt.Attr(e.Scheduler, "current_step"); err == nil {
		if v, err := rt.Int(obj); err == nil && v == 0 {
			f.Iteration = new(int64)
			f.FromStart = true
		}
		return
	}
	if f.Blocks > 0 && f.FreeBlocks == f.Blocks-1 && r.noBlockEverHashed() {
		f.Iteration = new(int64)
		f.FromStart = true
	}
}

// Armed is the fact of an engine whose watches are set by now. Requests may have
// come and gone between the reading of the fact and that: the number of the next
// step is kept only if it is the same still, and the engine idle still.
func (e *Engine) Armed() record.Engine {
	fact := e.fact
	if fact.Iteration == nil {
		return fact
	}
	now := &Engine{Scheduler: e.Scheduler, fact: record.Engine{Blocks: fact.Blocks, Caching: fact.Caching}}
	r := resolver{rt: e.Python, core: e.core, e: now} // not a snapshot
	if obj, err := r.rt.AttrPath(e.Scheduler, "kv_cache_manager", "block_pool", "free_block_queue", "num_free_blocks"); err == nil {
		if v, err := r.rt.Int(obj); err == nil {
			now.fact.FreeBlocks = int(v)
		}
	}
	r.iteration()
	if again := now.fact.Iteration; again == nil || *again != *fact.Iteration {
		fact.Iteration, fact.FromStart = nil, false
	}
	return fact
}

// noBlockEverHashed: the prefix cache is empty, so (with caching on) no request
// filled a block yet.
func (r *resolver) noBlockEverHashed() bool {
	if !r.e.fact.Caching {
		return false
	}
	m, err := r.rt.AttrPath(r.e.Scheduler, "kv_cache_manager", "block_pool", "cached_block_hash_to_block")
	if err != nil {
		return false
	}
	if inner, err := r.rt.Attr(m, "_cache"); err == nil {
		m = inner
	}
	n, err := r.rt.DictLen(m)
	return err == nil && n == 0
}

// finishReasons reads the enum's members: its numbers moved between versions.
func (r *resolver) finishReasons() {
	f := &r.e.fact
	typ, err := r.class(modEngine, clsFinishReason)
	if err == nil {
		var members uint64
		if members, err = r.rt.TypeAttr(typ, "_member_map_"); err == nil {
			items, derr := r.rt.Dict(members)
			err = derr
			f.FinishReasons = make(map[int]string, len(items))
			for _, it := range items {
				name, nerr := r.rt.Str(it.Key)
				v, verr := r.rt.Int(it.Value)
				if nerr == nil && verr == nil {
					f.FinishReasons[int(v)] = strings.ToLower(name)
				}
			}
		}
	}
	if err != nil || len(f.FinishReasons) == 0 {
		r.missing("FinishReason", err)
	}
}

func (r *resolver) moduleString(module, name string) string {
	dict, err := r.rt.Module(r.interp, module)
	if err != nil {
		return ""
	}
	obj, err := r.rt.DictGet(dict, name)
	if err != nil {
		return ""
	}
	s, _ := r.rt.Str(obj)
	return s
}

// monotonic is CLOCK_MONOTONIC in ns, BPF's and Python's clock.
func monotonic() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return time.Now().UnixNano()
	}
	return ts.Nano()
}
