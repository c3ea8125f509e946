package session

import (
	"errors"
	"io"
	"os"
	"path"

	"github.com/pmtrace/pmtrace/decode/record"
)

// Files of profilemate's layout, and the profiler each belongs to.
const (
	FileMetadata          = "metadata.json"
	FileBatch             = "batch_utilization.csv"
	FileBatchSummary      = "batch_utilization_summary.json"
	FileKVUsage           = "kv_cache_usage.csv"
	FileKVEvictions       = "kv_cache_evictions.csv"
	FileKVSummary         = "kv_cache_summary.txt"
	FilePreemptions       = "preemption_events.csv"
	FileLifecycle         = "request_lifecycle.csv"
	FilePreemptionSummary = "preemption_summary.json"
	FileCPU               = "cpu_operations_timing.csv"
	FileCPUSummary        = "cpu_timing_summary.json"
	FileForward           = "forward_pass_timing.csv"
	FileForwardSummary    = "forward_pass_summary.json"
	FileGraphCaptures     = "cuda_graph_captures.csv"
	FileGraphUsage        = "cuda_graph_usage.csv"
	FileGraphTimeline     = "cuda_graph_timeline.csv"
	FileEncoder           = "encoder_decoder_timing.csv"
	FileEncoderSummary    = "encoder_decoder_summary.json"
	FileMoEActivations    = moeDir + "/moe_expert_activations.csv"
	FileMoECoselection    = moeDir + "/moe_expert_coselection.csv"
	FileMoEWeights        = moeDir + "/moe_routing_weights_hist.csv"
	FileMoEImbalance      = moeDir + "/moe_load_imbalance.csv"
	FileMoESummary        = moeDir + "/moe_summary.json"

	moeDir = "moe_expert_tracking"
)

// Headers of the CSV files.
const (
	headerBatch       = "timestamp_sec,num_seqs,max_num_seqs,seq_utilization_pct,num_tokens,max_tokens,token_utilization_pct,phase,running_queue_len,waiting_queue_len"
	headerKVUsage     = "timestamp_sec,usage_pct,num_blocks,total_blocks"
	headerKVEvictions = "timestamp_sec,lifetime_sec,idle_sec"
	headerPreemptions = "timestamp_sec,request_id,event,reason,running_time_sec,extra_info"
	headerLifecycle   = "request_id,started_sec,preempted_sec,resumed_sec,finished_sec,total_time_sec,preemption_delay_sec"
	headerCPU         = "timestamp_sec,operation,duration_ms,context"
	headerForward     = "timestamp_sec,phase,batch_size,num_tokens,forward_time_ms,throughput_tokens_per_sec"
	headerCaptures    = "runtime_mode,num_tokens,num_reqs,uniform,has_lora,capture_time_sec"
	headerGraphUsage  = "runtime_mode,num_tokens,num_reqs,uniform,has_lora,replay_count"
	headerTimeline    = "timestamp_sec,descriptor,duration_ms"
	headerEncoder     = "timestamp_sec,component,duration_ms,context"

	headerMoEActivations = "layer_idx,expert_id,activation_count,percentage"
	headerMoECoselection = "layer_idx,expert_id_1,expert_id_2,coselection_count"
	headerMoEWeights     = "layer_idx,token_idx,expert_id,weight"
	headerMoEImbalance   = "layer_idx,timestamp_sec,std_dev,max_min_ratio"
)

// Visitor is called with the rows of the tables that it names a function for,
// one table after the other: what comes of a pass over the Parquet.
type Visitor struct {
	Step           func(*record.StepRow) error
	Preemption     func(*record.PreemptionRow) error
	Request        func(*record.RequestRow) error
	KVUsage        func(*record.KVUsageRow) error
	KVEviction     func(*record.KVEvictionRow) error
	CPUOperation   func(*record.CPUOperationRow) error
	Graph          func(*record.GraphRow) error
	GraphLaunch    func(*record.GraphLaunchRow) error
	EncoderDecoder func(*record.EncoderDecoderRow) error
	GPUSample      func(*record.GPUSampleRow) error
	KernelClass    func(*record.KernelClassRow) error
	MoEActivation  func(*record.MoEActivationRow) error
	MoECoselection func(*record.MoECoselectionRow) error
	MoEWeight      func(*record.MoEWeightRow) error
	MoEImbalance   func(*record.MoEImbalanceRow) error
	Hook           func(*record.HookRow) error
	Loss           func(*record.LossRow) error
	Done           func() error // after the last row
}

// Visit makes one pass over the tables that somebody wants to see.
func Visit(session *Dir, visitors ...Visitor) error {
	var steps []func(*record.StepRow) error
	var preemptions []func(*record.PreemptionRow) error
	var requests []func(*record.RequestRow) error
	var usage []func(*record.KVUsageRow) error
	var evictions []func(*record.KVEvictionRow) error
	var cpu []func(*record.CPUOperationRow) error
	var graphs []func(*record.GraphRow) error
	var launches []func(*record.GraphLaunchRow) error
	var components []func(*record.EncoderDecoderRow) error
	var samples []func(*record.GPUSampleRow) error
	var classes []func(*record.KernelClassRow) error
	var activations []func(*record.MoEActivationRow) error
	var pairs []func(*record.MoECoselectionRow) error
	var weights []func(*record.MoEWeightRow) error
	var imbalances []func(*record.MoEImbalanceRow) error
	var hooks []func(*record.HookRow) error
	var losses []func(*record.LossRow) error
	for _, v := range visitors {
		steps = with(steps, v.Step)
		preemptions = with(preemptions, v.Preemption)
		requests = with(requests, v.Request)
		usage = with(usage, v.KVUsage)
		evictions = with(evictions, v.KVEviction)
		cpu = with(cpu, v.CPUOperation)
		graphs = with(graphs, v.Graph)
		launches = with(launches, v.GraphLaunch)
		components = with(components, v.EncoderDecoder)
		samples = with(samples, v.GPUSample)
		classes = with(classes, v.KernelClass)
		activations = with(activations, v.MoEActivation)
		pairs = with(pairs, v.MoECoselection)
		weights = with(weights, v.MoEWeight)
		imbalances = with(imbalances, v.MoEImbalance)
		hooks = with(hooks, v.Hook)
		losses = with(losses, v.Loss)
	}
	if err := errors.Join(
		pass(session, steps),
		pass(session, preemptions), // before requests: their lifecycle has the last one
		pass(session, requests),
		pass(session, usage),
		pass(session, evictions),
		pass(session, cpu),
		pass(session, graphs),
		pass(session, launches),
		pass(session, components),
		pass(session, samples),
		pass(session, classes),
		pass(session, activations),
		pass(session, pairs),
		pass(session, weights),
		pass(session, imbalances),
		pass(session, hooks),
		pass(session, losses),
	); err != nil {
		return err
	}
	for _, v := range visitors {
		if v.Done != nil {
			if err := v.Done(); err != nil {
				return err
			}
		}
	}
	return nil
}

func with[T any](list []func(*T) error, f func(*T) error) []func(*T) error {
	if f == nil {
		return list
	}
	return append(list, f)
}

func pass[T any](session *Dir, to []func(*T) error) error {
	if len(to) == 0 {
		return nil
	}
	for row, err := range Rows[T](session) {
		if err != nil {
			return err
		}
		for _, f := range to {
			if err := f(row); err != nil {
				return err
			}
		}
	}
	return nil
}

// WriteFiles makes metadata.json and, if csv is set, the other files of
// profilemate's layout from the tables and the facts, in place of those that
// are there. A profiler that was on and saw nothing has its headers alone; one
// that could not work has no files. also: who wants to see the tables in the same pass.
func WriteFiles(session *Dir, facts *Facts, csv bool, also ...Visitor) (*Summary, error) {
	summary := NewSummary(session, facts)
	out := &outputs{dir: session}
	visitors := append([]Visitor{summary.Visitor()}, also...)
	if csv {
		for _, p := range []struct {
			profiler string
			files    func(*outputs, *Facts) Visitor
		}{
			{ProfilerBatch, batchFiles},
			{ProfilerKVCache, kvFiles},
			{ProfilerPreemption, preemptionFiles},
			{ProfilerCPU, cpuFiles},
			{ProfilerForwardPass, forwardFiles},
			{ProfilerCUDAGraph, graphFiles},
			{ProfilerEncoderDecoder, encoderFiles},
			{ProfilerMoE, moeFiles},
		} {
			if facts.Works(p.profiler) {
				visitors = append(visitors, p.files(out, facts))
			}
		}
	}
	err := out.err
	if err == nil {
		err = Visit(session, visitors...)
	}
	if err = out.finish(err); err != nil {
		return nil, err
	}
	err = session.Replace(FileMetadata, func(w io.Writer) error {
		return writeJSON(w, metadataOf(facts, summary))
	})
	return summary, errors.Join(err, WriteViews(session))
}

// outputs are the files that a pass writes. They get their names when all are
// complete.
type outputs struct {
	dir  *Dir
	open []output
	err  error
}

type output struct {
	name string
	file *os.File
	csv  *csvFile // nil: written whole at the end
}

func hiddenFile(name string) string {
	dir, base := path.Split(name)
	return dir + "." + base + ".tmp"
}

// mkdir makes a directory for files.
func (o *outputs) mkdir(name string) {
	if o.err != nil {
		return
	}
	var d *Dir
	if d, o.err = o.dir.Sub(name); o.err == nil {
		o.err = d.Close()
	}
}

func (o *outputs) create(name string) *os.File {
	if o.err != nil {
		return nil
	}
	if o.err = o.dir.Remove(hiddenFile(name)); o.err != nil {
		return nil
	}
	var f *os.File
	if f, o.err = o.dir.Create(hiddenFile(name)); o.err == nil {
		o.open = append(o.open, output{name: name, file: f})
	}
	return f
}

// csv begins a CSV file; failures are kept in o.err.
func (o *outputs) csv(name, header string) *csvFile {
	f := o.create(name)
	if f == nil {
		return newCSV(io.Discard, header)
	}
	c := newCSV(f, header)
	o.open[len(o.open)-1].csv = c
	return c
}

// write makes a file in one go.
func (o *outputs) write(name string, write func(io.Writer) error) error {
	f := o.create(name)
	if o.err != nil {
		return o.err
	}
	return write(f)
}

func (o *outputs) json(name string, v any) error {
	return o.write(name, func(w io.Writer) error { return writeJSON(w, v) })
}

// finish gives all files their names, or removes them if the pass failed.
func (o *outputs) finish(err error) error {
	for _, f := range o.open {
		if f.csv != nil && err == nil {
			err = f.csv.flush()
		}
		if cerr := f.file.Close(); err == nil {
			err = cerr
		}
	}
	for _, f := range o.open {
		if err == nil {
			err = o.dir.root.Rename(hiddenFile(f.name), f.name)
		} else {
			_ = o.dir.Remove(hiddenFile(f.name))
		}
	}
	return err
}
