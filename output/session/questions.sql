-- The slowest requests, and where their time went.
create or replace view q_slowest_requests as
select engine, external_id, finish_reason, prompt_tokens, cached_tokens, output_tokens, preemptions,
       (finished_ns - arrival_ns) / 1e6 as total_ms,
       queue_ns / 1e6 as queue_ms,
       prefill_ns / 1e6 as prefill_ms,
       decode_ns / 1e6 as decode_ms,
       preempted_ns / 1e6 as preempted_ms
from requests
where finished_ns is not null and arrival_ns is not null
order by total_ms desc, request_uid
limit 20;

-- Which sizes of CUDA graphs waste most on padding.
create or replace view q_padding_by_size as
select cudagraph_mode, padded_tokens as size, count(*) as steps,
       sum(tokens) as tokens, sum(padded_tokens - tokens) as padding,
       100.0 * sum(padded_tokens - tokens) / nullif(sum(padded_tokens), 0) as padding_pct,
       sum(step_gpu_ns * (padded_tokens - tokens) / padded_tokens) / 1e6 as padding_gpu_ms -- if each token took as long
from steps
where cudagraph_mode in ('FULL', 'PIECEWISE') and padded_tokens > 0
group by all
order by padding desc, size;

-- Before which steps the GPU idled longest although requests were running, and what
-- the CPU did meanwhile. model_execution spans other operations and is left out.
create or replace view q_idle_before_steps as
with idle as (
  select engine, step_id, phase, requests, gpu_idle_ns, gpu_start_ns - gpu_idle_ns as since_ns, gpu_start_ns as until_ns
  from steps
  where gpu_idle_ns > 0 and new_requests < requests
  order by gpu_idle_ns desc
  limit 50
)
select i.engine, i.step_id, i.phase, i.requests, i.gpu_idle_ns / 1e6 as idle_ms,
       o.operation, o.step_id as of_step, o.thread,
       (least(o.time_ns + o.duration_ns, i.until_ns) - greatest(o.time_ns, i.since_ns)) / 1e6 as within_ms
from idle i left join cpu_operations o
  on o.engine = i.engine and o.operation <> 'model_execution'
     and o.time_ns < i.until_ns and o.time_ns + o.duration_ns > i.since_ns
order by idle_ms desc, i.step_id, within_ms desc;

-- Steps that ran without a CUDA graph, by phase and size of the batch.
create or replace view q_steps_without_graphs as
select engine, phase, tokens, count(*) as steps, avg(requests) as requests,
       avg(step_gpu_ns) / 1e6 as step_gpu_ms, avg(kernel_launches) as kernel_launches
from steps
where cudagraph_mode = 'NONE' and tokens > 0
group by all
order by steps desc, tokens;

-- KV cache by second: how full, how many requests waited, what was thrown out.
create or replace view q_kv_pressure as
with by_second as (
  select engine, scheduled_ns // 1000000000 as second, max(kv_used_blocks) as used_blocks, max(kv_total_blocks) as total_blocks,
         max(running) as running, max(waiting) as waiting, sum(preempted) as preempted
  from steps
  group by all
), evicted as (
  select engine, time_ns // 1000000000 as second, count(*) filter (had_hash) as evictions, avg(idle_ns) filter (had_hash) / 1e9 as idle_s
  from kv_evictions
  group by all
)
select s.*, 100.0 * used_blocks / nullif(total_blocks, 0) as used_pct, coalesce(evictions, 0) as evictions, idle_s
from by_second s left join evicted using (engine, second)
order by engine, second;

-- Preempted requests: when, why, what it cost them.
create or replace view q_preempted as
select p.engine, r.external_id, p.step_id, p.time_ns / 1e9 as time_s, p.reason,
       p.running_ns / 1e6 as ran_ms, (p.resumed_ns - p.time_ns) / 1e6 as preempted_ms,
       p.computed_tokens as tokens_lost, p.blocks_freed, s.kv_used_blocks, s.kv_total_blocks, s.waiting
from preemptions p
left join requests r using (request_uid)
left join steps s on s.engine = p.engine and s.step_id = p.step_id
order by p.time_ns, p.request_uid;

-- Time in the queue by the minute in which requests came.
create or replace view q_queue_by_minute as
select engine, arrival_ns // 60000000000 as minute, count(*) as requests,
       quantile_cont(queue_ns, 0.5) / 1e6 as queue_p50_ms,
       quantile_cont(queue_ns, 0.99) / 1e6 as queue_p99_ms,
       max(queue_ns) / 1e6 as queue_max_ms,
       quantile_cont(first_token_ns - arrival_ns, 0.5) / 1e6 as first_token_p50_ms,
       quantile_cont(first_token_ns - arrival_ns, 0.99) / 1e6 as first_token_p99_ms
from requests
where arrival_ns is not null
group by all
order by engine, minute;

-- How large batches were, and how long they took.
create or replace view q_batch_distribution as
select engine, phase, requests, count(*) as steps, avg(tokens) as tokens,
       100.0 * count(*) / sum(count(*)) over (partition by engine) as steps_pct,
       quantile_cont(end_ns - start_ns, 0.5) / 1e6 as step_p50_ms,
       quantile_cont(step_gpu_ns, 0.5) / 1e6 as step_gpu_p50_ms,
       avg(mbu) as mbu
from steps
where tokens > 0
group by engine, phase, requests
order by engine, phase, requests;

-- What the CPU spends its time on.
create or replace view q_cpu_operations as
select engine, operation, context, count(*) as times, sum(duration_ns) / 1e6 as total_ms, avg(duration_ns) / 1e6 as mean_ms,
       quantile_cont(duration_ns, 0.5) / 1e6 as p50_ms, quantile_cont(duration_ns, 0.99) / 1e6 as p99_ms, max(duration_ns) / 1e6 as max_ms
from cpu_operations
group by all
order by total_ms desc;

-- Tokens that came latest after the one before, and what was in the step that brought them.
create or replace view q_late_tokens as
with tokens as (
  select r.engine, r.request_uid, r.step_id, s.end_ns, r.output_tokens,
         s.end_ns - lag(s.end_ns) over (partition by r.engine, r.request_uid order by r.step_id) as gap_ns,
         r.step_id - lag(r.step_id) over (partition by r.engine, r.request_uid order by r.step_id) as steps
  from step_requests r join steps s on s.engine = r.engine and s.step_id = r.step_id
  where r.output_tokens > 0 and s.end_ns is not null
), late as (
  select * from tokens where gap_ns is not null order by gap_ns desc, request_uid limit 100
)
select l.engine, q.external_id, l.step_id, l.end_ns / 1e9 as time_s, l.gap_ns / 1e6 as gap_ms,
       l.steps > 1 as missed_steps, -- not in every step: preempted, or no token of its own
       s.phase, s.requests, s.tokens, s.prefill_tokens, s.recompute_tokens, s.preempted, s.cudagraph_mode,
       s.step_gpu_ns / 1e6 as step_gpu_ms, s.gpu_idle_ns / 1e6 as idle_before_ms
from late l
join steps s on s.engine = l.engine and s.step_id = l.step_id
left join requests q using (request_uid)
order by gap_ms desc, l.request_uid;

-- What the prefix cache saved, by minute.
create or replace view q_prefix_cache as
select engine, first_scheduled_ns // 60000000000 as minute, count(*) as requests,
       sum(prompt_tokens) as prompt_tokens, sum(cached_tokens) as cached_tokens,
       100.0 * sum(cached_tokens) / nullif(sum(prompt_tokens), 0) as hit_pct,
       count(*) filter (cached_tokens > 0) as requests_with_hits
from requests
where first_scheduled_ns is not null and cached_tokens is not null and prompt_tokens is not null
group by all
order by engine, minute;

-- What the GPU's kernels were for, by class and by name, and what they move to and from the
-- GPU's memory (record, with --gpu-sampling for the bandwidth).
create or replace view q_kernel_classes as
select engine, class, name, kernels, duration_ns / 1e6 as total_ms,
       100.0 * duration_ns / nullif(sum(duration_ns) filter (name is null) over (partition by engine), 0) as time_pct,
       duration_ns / 1e3 / nullif(kernels, 0) as mean_us,
       (dram_read_bytes_per_s + dram_write_bytes_per_s) / 1e9 as dram_gb_per_s, dram_error_bytes_per_s / 1e9 as error_gb_per_s,
       100.0 * bandwidth_share as bandwidth_pct, tensor_active_pct, method
from kernel_classes
order by engine, name is not null, total_ms desc;

-- Calls of the functions that were named with --hook, and how long they took.
create or replace view q_hooks as
select hook, pid, count(*) as calls, max(call) + 1 - count(*) as without_row,
       count(*) filter (outcome = 'raised') as raised,
       avg(duration_ns) / 1e6 as mean_ms, quantile_cont(duration_ns, 0.5) / 1e6 as p50_ms,
       quantile_cont(duration_ns, 0.99) / 1e6 as p99_ms, max(duration_ns) / 1e6 as max_ms
from hooks
group by all
order by hook, pid;

-- What they were called with: a row an argument.
create or replace view q_hook_arguments as
select hook, pid, call, time_ns, argument, json_extract_string(arguments, concat('$."', argument, '"')) as value
from (select *, unnest(json_keys(try_cast(arguments as json))) as argument from hooks)
order by hook, pid, call, argument;
