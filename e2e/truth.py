#!/usr/bin/env python3
"""truth.py: compares a session with the server's own word, and prints a table of want and got.

  truth.py --session DIR --log SERVER.log [--log-from BYTES] --load LOAD.jsonl… [--before A.json --after B.json]
           [--mid]  attached while requests ran: what was seen must be right, not all was seen
           [--born-before]  blocks were allocated before attach: eviction times are lower bounds

Runs in the analysis venv. The words: the iteration log (--enable-logging-iteration-details), /metrics
(load/metrics.py), and what the clients got (load/load.py). Exit 1: something differs.
"""

import argparse
import json
import re
import sys

import duckdb

ITERATION = re.compile(
    rb"Iteration\((\d+)\): (\d+) context requests, (\d+) context tokens, (\d+) generation requests, "
    rb"(\d+) generation tokens, .*?elapsed time: [0-9.]+ ms(?:, .*?KV cache usage: ([0-9.]+)%)?"
)
TABLES = ("steps", "step_requests", "requests", "preemptions", "kv_usage", "kv_evictions", "losses")


class Table:
    """want and got, a row a check"""

    def __init__(self):
        self.rows = []

    def same(self, what, want, got):
        self.add(what, want, got, want == got)

    def near(self, what, want, got, relative):
        self.add(what, round(want, 3), round(got, 3), abs(got - want) <= relative * max(abs(want), 1e-9))

    def add(self, what, want, got, ok):
        self.rows.append((what, str(want), str(got), "ok" if ok else "DIFFERS"))

    def between(self, what, low, want, high):
        """The server's own number lies between two that the tables give."""
        self.add(what, want, low if low == high else f"{low} .. {high}", low <= want <= high)

    def print(self):
        rows = [("check", "want", "got", "")] + self.rows
        widths = [max(len(r[i]) for r in rows) for i in range(4)]
        for r in rows:
            print(f"{r[0]:<{widths[0]}}  {r[1]:>{widths[1]}}  {r[2]:>{widths[2]}}  {r[3]}")
        bad = sum(r[3] == "DIFFERS" for r in self.rows)
        print(f"{len(self.rows) - bad} passed, {bad} failed")
        return bad == 0


def read_log(path, offset):
    """(iteration, (context requests, tokens, generation requests, tokens), KV % or None) of each step with tokens."""
    with open(path, "rb") as f:
        f.seek(offset)
        out = []
        for line in f:
            m = ITERATION.search(line)
            if m:
                numbers = tuple(int(x) for x in m.groups()[1:5])
                if numbers[0] + numbers[2]:  # older versions log empty steps too
                    out.append((int(m[1]), numbers, float(m[6]) if m[6] else None))
    return out


def open_session(path):
    db = duckdb.connect()
    for table in TABLES:
        db.execute(f"create view {table} as from read_parquet('{path}/parquet/{table}/*.parquet')")
    return db


def one(db, sql):
    return db.execute(sql).fetchone()[0]


def check_steps(t, db, log, mid):
    got = db.execute(
        """select requests, tokens, ctx_requests, ctx_tokens, gen_requests, gen_tokens, iteration
           from steps where tokens > 0 order by engine, step_id"""
    ).fetchall()
    want = [n for _, n, _ in log]
    if mid:
        # Where the session begins in the log: by the first steps as a whole, for single ones repeat.
        head = [g[2:6] for g in got[:200]]
        starts = [i for i in range(len(want)) if want[i : i + len(head)] == head]
        t.add("steps: place in the iteration log found", "1 or more", len(starts), bool(starts))
        if not starts:
            return None
        log = log[starts[0] : starts[0] + len(got)]
        want = [n for _, n, _ in log]
    t.same("steps with tokens", len(want), len(got))
    pairs = list(zip(want, got))
    t.same("steps whose requests differ", 0, sum(w[0] + w[2] != g[0] for w, g in pairs))
    t.same("steps whose tokens differ", 0, sum(w[1] + w[3] != g[1] for w, g in pairs))
    t.same("steps whose context / generation split differs", 0, sum(w != tuple(g[2:6]) for w, g in pairs))
    first = log[0][0] if log else 0
    t.same("steps whose iteration number differs", 0, sum(
        g[6] is not None and g[6] - (got[0][6] or 0) != w[0] - first for w, g in zip(log, got)))
    return log


def check_kv(t, db, log):
    if not log or log[0][2] is None:
        return  # this version does not log it
    got = db.execute(
        """with s as (select * from steps where tokens > 0 and end_ns is not null)
           select 100.0 * (s.kv_total_blocks - k.free_after) / s.kv_total_blocks
           from s asof left join kv_usage k on s.engine = k.engine and s.end_ns >= k.time_ns
           order by s.engine, s.step_id"""
    ).fetchall()
    diffs = [abs(w[2] - g[0]) for w, g in zip(log, got) if g[0] is not None]
    t.add("KV usage: largest difference to the log, points", "<= 0.051", round(max(diffs, default=0), 4), max(diffs, default=1) <= 0.051)


def check_requests(t, db, clients, mid):
    rows = db.execute(
        """select external_id, finish_reason, prompt_tokens, cached_tokens, output_tokens, scheduled_tokens, preemptions,
                  arrival_ns, first_scheduled_ns, first_token_ns, finished_ns, seen_from_start, max_tokens from requests"""
    ).fetchall()
    if mid:
        rows = [r for r in rows if r[11] and r[10] is not None]
    got = {r[0]: r for r in rows}
    known = {c["external_id"]: c for c in clients if c["external_id"]}
    t.same("request ids used once", len(rows), len(got))
    if not mid:
        t.same("requests", len(known), len(rows))
        t.same("client ids that are missing", 0, len(known.keys() - got.keys()))
    t.same("requests no client knows", 0, len(got.keys() - known.keys()))
    both = [(known[i], got[i]) for i in known.keys() & got.keys()]
    t.add("requests compared", "> 0", len(both), bool(both))
    kept = [(c, g) for c, g in both if c["finish_reason"] != "abort"]
    gone = [(c, g) for c, g in both if c["finish_reason"] == "abort"]
    t.same("finish reason differs", 0, sum(c["finish_reason"] != g[1] for c, g in kept))
    # A client may hang up after the engine's last token: then the reason is the engine's.
    t.same("aborted: reason differs", 0, sum(g[1] not in ("abort", "length") for _, g in gone))
    t.same("aborted: fewer tokens than the client got, or more than asked", 0,
           sum(not c["completion_tokens"] <= g[4] <= c["max_tokens"] for c, g in gone))
    t.same("prompt tokens differ", 0, sum(c["prompt_tokens"] != g[2] for c, g in both))
    t.same("output tokens differ", 0, sum(c["completion_tokens"] != g[4] for c, g in kept))
    t.same("cached tokens differ", 0, sum(c["cached_tokens"] is not None and c["cached_tokens"] != g[3] for c, g in kept))
    plain = [g for _, g in kept if g[6] == 0]
    t.same("not preempted: scheduled <> prompt - cached + output - 1", 0, sum(g[5] != g[2] - g[3] + g[4] - 1 for g in plain))
    again = [g for _, g in kept if g[6] > 0]
    t.same("preempted: scheduled fewer than that", 0, sum(g[5] < g[2] - g[3] + g[4] - 1 for g in again))
    t.same("times out of order", 0, sum(not (g[7] <= g[8] <= g[9] <= g[10]) for _, g in kept))
    # The engine's span lies inside the client's (20 ms for a wall clock that is being slewed).
    t.same("longer in the engine than at the client", 0,
           sum(g[10] - g[7] > (c["t_last"] - c["t_send"] + 0.02) * 1e9 for c, g in kept))


def check_consistent(t, db, mid):
    """The tables among themselves."""
    t.same("steps <> their step_requests", 0, one(db, """
        select count(*) from steps s full join (select engine, step_id, count(*) n, sum(scheduled_tokens) tokens
        from step_requests group by all) r using (engine, step_id)
        where coalesce(s.requests, 0) <> coalesce(r.n, 0) or coalesce(s.tokens, 0) <> coalesce(r.tokens, 0)"""))
    t.same("requests <> their step_requests", 0, one(db, """
        select count(*) from requests q left join (select request_uid, sum(scheduled_tokens) tokens from step_requests group by all) r
        using (request_uid) where q.scheduled_tokens <> coalesce(r.tokens, 0)"""))
    t.same("steps <> preemptions", one(db, "select coalesce(sum(preempted), 0) from steps"), one(db, "select count(*) from preemptions"))
    t.same("free blocks that do not follow from the operation", 0, one(db, """
        with k as (select *, lag(free_after) over (partition by engine order by op_id) as before from kv_usage)
        select count(*) from k where before is not null and abs(free_after - before) <> blocks"""))
    t.same("lost events", 0, one(db, "select coalesce(sum(count), 0) from losses"))
    if not mid:
        t.same("requests without an end", 0, one(db, "select count(*) from requests where finished_ns is null"))


def check_metrics(t, db, m, clients, born_before):
    def metric(name):
        return m.get("vllm:" + name, 0.0)

    t.same("num_preemptions_total", int(metric("num_preemptions_total")), one(db, "select count(*) from preemptions"))
    prompt, cached, output = db.execute(
        "select sum(prompt_tokens), sum(cached_tokens), sum(output_tokens) from requests").fetchone()
    t.same("prompt_tokens_total", int(metric("prompt_tokens_total")), prompt)
    # Not prefix_cache_hits_total: older versions count there each attempt to schedule, not each request.
    t.same("prompt_tokens_cached_total", int(metric("prompt_tokens_cached_total")), cached)
    # The API server counts these, and stops with a request when its client hangs up; the engine may then
    # have made some tokens more, or have ended it by itself.
    gone = {c["external_id"]: c["completion_tokens"] for c in clients if c["finish_reason"] == "abort"}
    db.execute("create temp table gone (id varchar)")
    if gone:
        db.executemany("insert into gone values (?)", [(i,) for i in gone])
    more = one(db, "select coalesce(sum(output_tokens), 0) from requests where external_id in (from gone)") - sum(gone.values())
    t.between("generation_tokens_total", output - more, int(metric("generation_tokens_total")), output)
    want = int(metric("iteration_tokens_total_sum"))
    got = prompt + output
    if want < got - more:  # newer versions leave cached prompt tokens out of this one
        got -= cached
    t.between("iteration_tokens_total", got - more, want, got)
    for reason in ("stop", "length"):
        sql = f"select count(*) from requests where finish_reason = '{reason}'"
        t.between(f"request_success_total {reason}", one(db, sql + " and external_id not in (from gone)"),
                  int(metric("request_success_total{finished_reason=%s}" % reason)), one(db, sql))
    n, lifetime, idle, unknown = db.execute(
        "select count(*), sum(lifetime_ns) / 1e9, sum(idle_ns) / 1e9, count(*) filter (not birth_known) from kv_evictions").fetchone()
    t.same("evictions", int(metric("kv_block_lifetime_seconds_count")), n)
    if not born_before:
        t.same("evictions of unknown birth", 0, unknown)
        if n:
            t.near("eviction lifetime, s (0.1 %)", metric("kv_block_lifetime_seconds_sum"), lifetime, 0.001)
            t.near("eviction idle, s (0.1 %)", metric("kv_block_idle_before_evict_seconds_sum"), idle, 0.001)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--session", required=True)
    p.add_argument("--log", required=True)
    p.add_argument("--log-from", type=int, default=0)
    p.add_argument("--load", nargs="+", required=True)
    p.add_argument("--before")
    p.add_argument("--after")
    p.add_argument("--mid", action="store_true")
    p.add_argument("--born-before", action="store_true")
    a = p.parse_args()
    clients = [json.loads(line) for path in a.load for line in open(path)]
    t = Table()
    db = open_session(a.session)
    log = check_steps(t, db, read_log(a.log, a.log_from), a.mid)
    check_kv(t, db, log)
    check_requests(t, db, clients, a.mid)
    check_consistent(t, db, a.mid)
    if a.before and a.after:
        sys.path.insert(0, __file__.rpartition("/")[0] + "/load")
        import metrics

        check_metrics(t, db, metrics.diff(metrics.load(a.before), metrics.load(a.after)), clients, a.born_before)
    return 0 if t.print() else 1


if __name__ == "__main__":
    sys.exit(main())
