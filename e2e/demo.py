#!/usr/bin/env python3
"""demo.py SESSION: three questions to a session's Parquet tables, by DuckDB. Runs in the analysis venv."""

import sys

import duckdb

QUESTIONS = [
    (
        "What do the steps of each phase cost?",
        """
select phase, count(*) as steps,
       round(avg(requests), 1) as mean_requests,
       round(avg(tokens), 1) as mean_tokens,
       round(avg(forward_ns) / 1e6, 2) as forward_ms,
       round(quantile_cont(forward_ns, 0.95) / 1e6, 2) as p95_ms,
       round(sum(tokens) / (sum(forward_ns) / 1e9)) as tokens_per_s
from steps where phase <> 'empty'
group by phase order by steps desc""",
    ),
    (
        "Which requests were slowest, and where did their time go?",
        """
select external_id, prompt_tokens, cached_tokens, output_tokens, finish_reason, preemptions,
       round((finished_ns - arrival_ns) / 1e6) as total_ms,
       round(queue_ns / 1e6) as queue_ms,
       round(prefill_ns / 1e6) as prefill_ms,
       round(decode_ns / 1e6) as decode_ms,
       round(preempted_ns / 1e6) as preempted_ms
from requests where finished_ns is not null
order by total_ms desc limit 10""",
    ),
    (
        "When was the KV cache under pressure?",
        """
with s as (select start_ns // 1000000000 as second, max(100.0 * kv_used_blocks / kv_total_blocks) as kv, max(waiting) as waiting
           from steps group by second),
     e as (select time_ns // 1000000000 as second, count(*) as reused, count(*) filter (had_hash) as cached_lost,
                  avg(lifetime_ns) / 1e9 as lifetime
           from kv_evictions group by second),
     p as (select time_ns // 1000000000 as second, count(*) as preempted from preemptions group by second)
select second, round(kv, 1) as kv_peak_pct, waiting as most_waiting, coalesce(preempted, 0) as preemptions,
       coalesce(reused, 0) as blocks_reused, coalesce(cached_lost, 0) as with_cached_content, round(lifetime, 2) as mean_lifetime_s
from s left join e using (second) left join p using (second)
order by second""",
    ),
]


def main():
    session = sys.argv[1]
    db = duckdb.connect()
    for table in ("steps", "requests", "kv_evictions", "preemptions"):
        db.execute(f"create view {table} as from read_parquet('{session}/parquet/{table}/*.parquet')")
    for question, sql in QUESTIONS:
        print(f"\n{question}\n{sql.strip()}\n")
        db.sql(sql).show(max_width=200)


if __name__ == "__main__":
    main()
