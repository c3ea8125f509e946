package vllm

import (
	"errors"
	"fmt"

	"github.com/pmtrace/pmtrace/probes/cpython"
)

// Modules and classes on the way to a step's routed experts.
const (
	modOutputs  = "vllm.v1.outputs"
	modUniproc  = "vllm.v1.executor.uniproc_executor"
	modAsync    = "vllm.v1.worker.gpu.async_utils"
	modAux      = "vllm.distributed.aux_output_connector.connector"
	modPending  = "vllm.distributed.aux_output_connector.worker"
	modCore     = "vllm.v1.engine.core"
	callerName  = "step_with_batch_queue"
	futureLocal = "future"
)

// RoutedPlace is where vLLM has the experts that a step's tokens chose when the step's
// output is taken (--enable-return-routed-experts).
type RoutedPlace int

// The places, by vLLM's version.
const (
	RoutedNowhere RoutedPlace = iota
	RoutedLists               // 0.22 to 0.30: in the ModelRunnerOutput
	RoutedPending             // since 0.31: in the PendingAuxOutput that the step's future holds
)

// Routed is what is needed to copy them.
type Routed struct {
	Place RoutedPlace
	// Names are the str objects of the attributes on the way, in routedNames' order.
	Names  []uint64
	Caller Function // that calls update_from_output with the future
	Array  uint64   // type numpy.ndarray
	// Asked: the server was started with the flag. Missing says why they cannot be read then.
	Asked   bool
	Missing string
}

// Source names the place in the session's metadata.
func (r *Routed) Source() string {
	switch r.Place {
	case RoutedLists:
		return "model_runner_output"
	case RoutedPending:
		return "aux_output"
	}
	return ""
}

// routedNames are the attributes on the way to each place, in the programs' order, with a
// class whose __init__ has the name.
var routedNames = map[RoutedPlace][]struct{ module, class, name string }{
	RoutedLists: {{modOutputs, "ModelRunnerOutput", "routed_experts"}},
	RoutedPending: {
		{modPending, "PendingAuxOutput", "routed_experts"},
		{modUniproc, "AsyncOutputFuture", "async_output"},
		{modAsync, "AsyncOutput", "pending_aux_output"},
		{modOutputs, "ModelRunnerOutput", "aux_output_connector_output"},
		{modAux, "AuxRequestOutput", "rows"},
	},
}

// routed finds where routed experts are, if the server has them.
func (r *resolver) routed() {
	place := &r.e.Routed
	aux := r.configured("aux_output_config", "enable_return_routed_experts")
	place.Asked = aux || r.configured("model_config", "enable_return_routed_experts")
	if !place.Asked {
		return
	}
	if err := r.routedPlace(aux); err != nil {
		*place = Routed{Asked: true, Missing: err.Error()}
	}
}

func (r *resolver) routedPlace(aux bool) error {
	to := &r.e.Routed
	switch _, err := r.class(modOutputs, "RoutedExpertsLists"); {
	case aux:
		to.Place = RoutedPending
	case err == nil:
		to.Place = RoutedLists
	default:
		return errors.New("this version of vLLM has routed experts in shared memory, by KV slots: they are read from 0.22 on")
	}
	if _, err := r.rt.AttrPath(r.core, "model_executor", "driver_worker"); err != nil && to.Place == RoutedPending {
		return errors.New("this version of vLLM has the step's routed experts in the process that runs the model, which is not the engine's")
	}
	for _, n := range routedNames[to.Place] {
		at, err := r.attributeName(n.module, n.class, n.name)
		if err != nil {
			return fmt.Errorf("%s.%s: %w", n.class, n.name, err)
		}
		to.Names = append(to.Names, at)
	}
	dict, err := r.rt.Module(r.interp, "numpy")
	if err == nil {
		to.Array, err = r.rt.DictGet(dict, "ndarray")
	}
	if err != nil {
		return fmt.Errorf("numpy.ndarray: %w", err)
	}
	if to.Place == RoutedPending {
		typ, err := r.class(modCore, "EngineCore")
		if err == nil {
			to.Caller, err = r.function(typ, callerName)
		}
		if err != nil {
			return fmt.Errorf("EngineCore.%s: %w", callerName, err)
		}
	}
	if _, _, ok := r.e.Update.Local(resultLocal); !ok {
		return fmt.Errorf("update_from_output has no argument %s", resultLocal)
	}
	return nil
}

// resultLocal is update_from_output's argument with the step's output.
const resultLocal = "model_runner_output"

// attributeName is the str object of a name that a class's __init__ sets; 0 and NotFound:
// it does not.
func (r *resolver) attributeName(module, class, name string) (uint64, error) {
	code, err := r.method(module, class, "__init__")
	if err != nil {
		return 0, err
	}
	names, err := r.interned(code)
	if err != nil {
		return 0, err
	}
	if names[name] == 0 {
		return 0, cpython.NotFound
	}
	return names[name], nil
}

// configured reports whether a flag of vllm_config is there, and set.
func (r *resolver) configured(path ...string) bool {
	config, err := r.rt.Attr(r.e.Scheduler, "vllm_config")
	if err != nil {
		config, err = r.rt.Attr(r.core, "vllm_config")
	}
	if err != nil {
		return false
	}
	obj, err := r.rt.AttrPath(config, path...)
	if err != nil {
		return false
	}
	on, err := r.rt.Bool(obj)
	return err == nil && on
}

// experts is how many experts a layer has, as models' configs name it; 0: not known.
func (r *resolver) experts(config uint64) int {
	for _, path := range [][]string{
		{"model_config", "model_arch_config", "num_experts"},
		{"model_config", "hf_text_config", "num_experts"},
		{"model_config", "hf_text_config", "n_routed_experts"},
		{"model_config", "hf_text_config", "num_local_experts"},
	} {
		obj, err := r.rt.AttrPath(config, path...)
		if err != nil {
			continue
		}
		if n, err := r.rt.Int(obj); err == nil && n > 0 && n < maxExperts {
			return int(n)
		}
	}
	return 0
}

// maxExperts bounds what a layer is believed to have.
const maxExperts = 1 << 15
