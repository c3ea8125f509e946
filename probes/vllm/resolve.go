package vllm

import (
	"errors"
	"fmt"

	"github.com/pmtrace/pmtrace/probes/cpython"
)

// resolver fills an Engine from the EngineCore object.
type resolver struct {
	rt     *cpython.Runtime
	interp uint64
	core   uint64
	e      *Engine
}

// missing notes what could not be found; tracing goes on without it.
func (r *resolver) missing(what string, err error) {
	m := what
	if err != nil && !errors.Is(err, cpython.NotFound) {
		m = fmt.Sprintf("%s (%v)", what, err)
	}
	r.e.fact.Missing = append(r.e.fact.Missing, m)
}

func (r *resolver) resolve() error {
	rt, e := r.rt, r.e
	var err error
	if e.Scheduler, err = rt.Attr(r.core, "scheduler"); err != nil {
		return errStarting
	}
	if e.None, err = rt.NoneAddr(); err != nil {
		return err
	}
	typ, err := rt.TypeAddr(e.Scheduler)
	if err != nil {
		return err
	}
	if e.Schedule, err = r.function(typ, "schedule"); err != nil {
		return fmt.Errorf("Scheduler.schedule: %w", err)
	}
	if e.Update, err = r.function(typ, "update_from_output"); err != nil {
		r.missing("Scheduler.update_from_output", err)
	}
	if err := r.names(); err != nil {
		return err
	}
	r.scheduler()
	r.outputs()
	r.pool()
	r.facts()
	r.routed()
	return nil
}

// function finds a method and where it can be watched.
func (r *resolver) function(typ uint64, name string) (Function, error) {
	obj, err := r.rt.TypeAttr(typ, name)
	if err != nil {
		return Function{}, err
	}
	fn, err := r.rt.Unwrap(obj)
	if err != nil {
		return Function{}, err
	}
	code, err := r.rt.Code(fn.Code)
	if err != nil {
		return Function{}, err
	}
	pos, err := r.rt.Positions(code)
	if err != nil {
		return Function{}, err
	}
	f := Function{Code: code}
	if pos.HasEntry && !pos.HasBody {
		return Function{}, cpython.NotFound
	}
	f.Entry = pos.Body.Addr
	if len(pos.Returns) == 0 {
		return Function{}, errors.New("no return instruction")
	}
	// A function that ends in a with block has a second return behind it, for an
	// exception that __exit__ swallowed; compilers put that path last.
	f.Return = pos.Returns[0].Addr
	return f, nil
}

// method gives the code object of a class's method.
func (r *resolver) method(module, class, name string) (cpython.Code, error) {
	typ, err := r.class(module, class)
	if err != nil {
		return cpython.Code{}, err
	}
	obj, err := r.rt.TypeAttr(typ, name)
	if err != nil {
		return cpython.Code{}, err
	}
	fn, err := r.rt.Unwrap(obj)
	if err != nil {
		return cpython.Code{}, err
	}
	return r.rt.Code(fn.Code)
}

func (r *resolver) class(module, class string) (uint64, error) {
	dict, err := r.rt.Module(r.interp, module)
	if err != nil {
		return 0, err
	}
	return r.rt.DictGet(dict, class)
}

// names finds the str objects of attribute names: the interpreter interns them,
// so the ones that a class's __init__ uses are those in its instances' keys.
func (r *resolver) names() error {
	e := r.e
	for _, c := range []struct {
		module, class string
		names         []string
		to            *[]uint64
	}{
		{modOutput, clsSchedulerOutput, outputNames, &e.OutputNames},
		{modOutput, clsCachedRequests, cachedNames, &e.CachedNames},
		{modOutput, clsNewRequest, newNames, &e.NewNames},
		{modRequest, clsRequest, requestNames, &e.RequestNames},
	} {
		code, err := r.method(c.module, c.class, "__init__")
		if err != nil {
			return fmt.Errorf("%s.%s.__init__: %w", c.module, c.class, err)
		}
		known, err := r.interned(code)
		if err != nil {
			return fmt.Errorf("%s.__init__: %w", c.class, err)
		}
		*c.to = make([]uint64, len(c.names))
		for i, n := range c.names {
			if (*c.to)[i] = known[n]; known[n] == 0 {
				r.missing(c.class+"."+n, nil)
			}
		}
	}
	typ, err := r.class(modOutput, clsSchedulerOutput)
	if err != nil {
		return err
	}
	e.OutputType = typ
	return nil
}

// interned gives the names that a code object uses, with their str objects.
func (r *resolver) interned(code cpython.Code) (map[string]uint64, error) {
	objs, err := r.rt.CodeNames(code)
	if err != nil {
		return nil, err
	}
	m := make(map[string]uint64, len(objs))
	for _, o := range objs {
		if s, err := r.rt.Str(o); err == nil {
			m[s] = o
		}
	}
	return m, nil
}

func (r *resolver) storage(obj uint64, name, what string) cpython.Storage {
	s, err := r.rt.ResolveAttr(obj, name)
	if err != nil {
		r.missing(what, err)
		return cpython.Storage{}
	}
	return s
}

// scheduler resolves the scheduler's own attributes.
func (r *resolver) scheduler() {
	rt, e := r.rt, r.e
	e.Running = r.storage(e.Scheduler, "running", "Scheduler.running")
	e.Requests = r.storage(e.Scheduler, "requests", "Scheduler.requests")
	for _, name := range queueNames {
		s, err := rt.ResolveAttr(e.Scheduler, name)
		if err != nil {
			continue // not in this version
		}
		q := Queue{Name: name, Storage: s}
		obj, err := rt.Attr(e.Scheduler, name)
		if err != nil {
			r.missing("Scheduler."+name, err)
			continue
		}
		if heap, err := rt.ResolveAttr(obj, "_heap"); err == nil {
			q.Heap = true
			e.Heap = heap
		} else if _, err := rt.DequeLen(obj); err != nil {
			r.missing("Scheduler."+name+" (neither deque nor heap)", err)
			continue
		}
		e.Queues = append(e.Queues, q)
	}
	if len(e.Queues) == 0 {
		r.missing("Scheduler.waiting", nil)
	}
}

// outputs resolves the fields of EngineCoreOutput, a msgspec.Struct: slots.
func (r *resolver) outputs() {
	for _, c := range []struct {
		class, field string
		to           *int
	}{
		{clsOutputs, "outputs", &r.e.OutputsList},
		{clsOutput, "request_id", &r.e.OutputID},
		{clsOutput, "new_token_ids", &r.e.OutputTokens},
		{clsOutput, "finish_reason", &r.e.OutputFinish},
	} {
		typ, err := r.class(modEngine, c.class)
		if err == nil {
			var s cpython.Storage
			if s, err = r.rt.ResolveByType(typ, c.field); err == nil {
				if s.Kind == cpython.StorageSlot {
					*c.to = s.Offset
					continue
				}
				err = cpython.Unsupported
			}
		}
		r.missing(c.class+"."+c.field, err)
	}
}

// pool resolves the free block queue and its blocks.
func (r *resolver) pool() {
	rt, e := r.rt, r.e
	queue, err := rt.AttrPath(e.Scheduler, "kv_cache_manager", "block_pool", "free_block_queue")
	if err != nil {
		r.missing("BlockPool.free_block_queue", err)
		return
	}
	s, err := rt.ResolveAttr(queue, "num_free_blocks")
	if err == nil {
		e.Counter, err = rt.Locate(queue, s)
	}
	if err != nil {
		r.missing("FreeKVCacheBlockQueue.num_free_blocks", err)
		return
	}
	if e.Head, err = rt.Attr(queue, "fake_free_list_head"); err != nil {
		r.missing("FreeKVCacheBlockQueue.fake_free_list_head", err)
	} else {
		e.BlockNext = r.storage(e.Head, "next_free_block", "KVCacheBlock.next_free_block")
		e.BlockID = r.storage(e.Head, "block_id", "KVCacheBlock.block_id")
		e.BlockHash = r.storage(e.Head, "_block_hash", "KVCacheBlock._block_hash")
	}
	typ, err := rt.TypeAddr(queue)
	if err != nil {
		r.missing("FreeKVCacheBlockQueue", err)
		return
	}
	for _, op := range queueOps {
		obj, err := rt.TypeAttr(typ, op.name)
		if err != nil {
			continue // not in this version
		}
		fn, err := rt.Unwrap(obj)
		if err != nil {
			r.missing("FreeKVCacheBlockQueue."+op.name, err)
			continue
		}
		e.QueueOps = append(e.QueueOps, QueueOp{Name: op.name, Code: fn.Code, Change: op.change, Blocks: op.blocks})
	}
	manager, err := rt.Attr(e.Scheduler, "kv_cache_manager")
	if err != nil {
		return
	}
	mtyp, err := rt.TypeAddr(manager)
	if err != nil {
		return
	}
	for _, name := range ownerMethods {
		obj, err := rt.TypeAttr(mtyp, name)
		if err == nil {
			var fn cpython.Function
			if fn, err = rt.Unwrap(obj); err == nil {
				e.Owners = append(e.Owners, fn.Code)
				continue
			}
		}
		r.missing("KVCacheManager."+name, err)
	}
}
