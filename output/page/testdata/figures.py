"""figures.py PAGE: holds the figures in a page against the tables of the session in the
working directory, by DuckDB. Prints JSON: how many were compared, and which differ."""

import json
import math
import re
import sys

import duckdb

html = open(sys.argv[1], encoding="utf-8").read()
page = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.S).group(1))
db = duckdb.connect()
compared, wrong = 0, []


def table(name):
    return f"'parquet/{name}/*.parquet'"


def same(what, got, want, tolerance=0.0):
    global compared
    compared += 1
    if got is None or want is None:
        equal = got is None and want is None
    elif isinstance(want, float) or isinstance(got, float):
        equal = math.isclose(got, want, rel_tol=tolerance, abs_tol=1e-9)
    else:
        equal = got == want
    if not equal and len(wrong) < 20:
        wrong.append(f"{what}: {got} in the page, {want} in the tables")


def undelta(values):
    at, out = 0, []
    for v in values:
        at += v
        out.append(at)
    return out


def rows(query):
    cursor = db.execute(query)
    names = [c[0] for c in cursor.description]
    return [dict(zip(names, r)) for r in cursor.fetchall()]


PHASES = page["phases"]
GPU_SPENT = {"busy": [], "idle": [], "drained": []}


def timeline(e):
    t, engine = e["timeline"], e["engine"]
    origin, width, n, columns = t["origin_ns"], t["width_ns"], t["buckets"], t["columns"]
    phase = lambda p: f"(phase = '{p}')" if p != "unknown" else "(phase not in ('prefill', 'mixed', 'decode'))"
    parts = ["sum(output_tokens) as output", "sum(prefill_tokens) as prompt", "sum(recompute_tokens) as recompute"]
    for p in PHASES:
        for name, of in (("whole", "end_ns - start_ns"), ("gpu", "step_gpu_ns")):
            f = f"filter (tokens > 0 and {phase(p)} and {of} is not null)"
            parts += [f"count(*) {f} as {name}_{p}_n", f"sum({of}) {f} as {name}_{p}_sum", f"max({of}) {f} as {name}_{p}_max"]
    for name, of in (("kv", "kv_used_blocks"), ("running", "running"), ("waiting", "waiting")):
        parts += [f"count({of}) as {name}_n", f"sum({of}) as {name}_sum", f"min({of}) as {name}_min", f"max({of}) as {name}_max",
                  f"arg_max({of}, start_ns) as {name}_last"]
    graph = "tokens > 0 and cudagraph_mode in ('FULL', 'PIECEWISE') and padded_tokens >= tokens"
    parts += ["count(*) filter (tokens > 0 and cudagraph_mode = 'FULL') as full", "count(*) filter (tokens > 0 and cudagraph_mode = 'PIECEWISE') as piecewise",
              "count(*) filter (tokens > 0 and cudagraph_mode = 'NONE') as eager",
              f"sum(padded_tokens) filter ({graph}) as padded", f"sum(padded_tokens - tokens) filter ({graph}) as padding"]
    names = [p.rsplit(" as ", 1)[1] for p in parts]
    got = {r["bucket"]: r for r in rows(
        f"select (start_ns - {origin}) // {width} as bucket, {', '.join(parts)} from {table('steps')} where engine = {engine} group by 1")}
    until = rows(f"select max(greatest(scheduled_ns, update_start_ns, end_ns, gpu_end_ns)) as t from {table('steps')} where engine = {engine}")[0]["t"]
    for name, of, at, where in (("evicted", "kv_evictions", "time_ns", "had_hash"), ("preempted", "preemptions", "time_ns", "true"),
                                ("arrived", "requests", "arrival_ns", "true"), ("finished", "requests", "finished_ns", "true")):
        names.append(name)
        for r in rows(f"select ({at} - {origin}) // {width} as bucket, count(*) as n from {table(of)} "
                      f"where engine = {engine} and {where} and {at} between {origin} and {until} group by 1"):
            got.setdefault(r["bucket"], {})[name] = r["n"]
    for name in names:
        column = columns.get(name, [0] * n)  # one without anything is left out
        for i in range(n):
            want = got.get(i, {}).get(name)
            if want is None and not name.endswith(("_min", "_last")) and not name.startswith(("kv_max", "running_max", "waiting_max")):
                want = 0
            if name not in columns:
                want = want or 0
            same(f"engine {engine}, bucket {i}, {name}", column[i], want)
    same(f"engine {engine}: steps in no bucket", [b for b in got if not 0 <= b < n], [])
    spent = {name: [0] * n for name in GPU_SPENT}

    def add(name, start, end):
        start = max(start, origin)
        while start < end:
            b = (start - origin) // width
            upto = min(end, origin + (b + 1) * width)
            spent[name][b] += upto - start
            start = upto

    for r in rows(f"select gpu_start_ns as s, gpu_end_ns as e, gpu_idle_ns as idle, new_requests = requests as fresh from {table('steps')} "
                  f"where engine = {engine} and tokens > 0 and gpu_start_ns is not null"):
        if r["e"] is not None:
            add("busy", r["s"], r["e"])
        if r["idle"] is not None:
            add("drained" if r["fresh"] else "idle", r["s"] - max(r["idle"], 0), r["s"])
    for name, list_ in spent.items():
        for i, want in enumerate(list_):
            same(f"engine {engine}, bucket {i}, {name}", columns.get(name, [0] * n)[i], want)


def windows():
    columns = {"scheduled": "scheduled_ns - start_ns", "update": "update_start_ns - start_ns", "end": "end_ns - start_ns", "gpu_start": "gpu_start_ns - start_ns",
               "gpu_end": "gpu_end_ns - start_ns", "gpu": "step_gpu_ns", "gpu_error": "gpu_error_bound_ns", "idle": "gpu_idle_ns", "drained": "(new_requests = requests)::int", "requests": "requests",
               "tokens": "tokens", "prompt": "prefill_tokens", "recompute": "recompute_tokens", "output": "output_tokens", "kv": "kv_used_blocks", "running": "running",
               "waiting": "waiting", "padded": "padded_tokens", "phase": "phase", "mode": "cudagraph_mode"}
    select = ", ".join(f"{of} as {name}" for name, of in columns.items())
    for w in page["windows"]:
        want = rows(f"select step_id, start_ns, {select} from {table('steps')} where engine = {w['engine']} and start_ns >= {w['from_ns']} and start_ns < {w['to_ns']} order by start_ns")
        where = f"window of engine {w['engine']} at {w['from_ns']}"
        same(where + ": steps", undelta(w["step"]), [r["step_id"] for r in want])
        same(where + ": starts", undelta(w["start_ns"]), [r["start_ns"] for r in want])
        for r in want:
            r["phase"] = PHASES.index(r["phase"]) if r["phase"] in PHASES else len(PHASES) - 1
            r["mode"] = None if r["mode"] is None else ["FULL", "PIECEWISE", "NONE"].index(r["mode"])
        for name in columns:
            for i, r in enumerate(want):
                same(f"{where}, step {i}, {name}", w["columns"].get(name, [None] * len(want))[i], r[name])


def latencies():
    edges = page["latency"]["edges_ns"]

    def check(d, query):
        values = sorted(r["v"] for r in rows(query) if r["v"] is not None)
        same(d["name"] + ": count", d["count"], len(values))
        counts = [0] * (len(edges) - 1)
        at = 0
        for v in values:
            while at + 1 < len(counts) and v >= edges[at + 1]:
                at += 1
            counts[at] += 1
        for i, want in enumerate(counts):
            j = i - d["first"]
            same(f"{d['name']}, bin {i}", d["counts"][j] if 0 <= j < len(d["counts"]) else 0, want)
        if values:
            for p, got in zip((50, 90, 99, 100), d["percentiles_ns"]):
                rank = p / 100 * (len(values) - 1)
                low = int(rank)
                want = values[low] + (rank - low) * (values[min(low + 1, len(values) - 1)] - values[low])
                same(f"{d['name']}, p{p}", float(got), float(want), 0.0 if len(values) <= 65536 else 5e-4)

    l = page["latency"]
    check(l["first_token"], f"select first_token_ns - arrival_ns as v from {table('requests')}")
    check(l["queue"], f"select queue_ns as v from {table('requests')}")
    check(l["per_token"], f"select decode_ns // (output_tokens - 1) as v from {table('requests')} where output_tokens > 1")
    for list_, of in ((l["steps"], "end_ns - start_ns"), (l["steps_gpu"], "step_gpu_ns")):
        for d in list_:
            check(d, f"select {of} as v from {table('steps')} where tokens > 0 and phase = '{d['name']}'")


def graphs():
    want = {}
    for r in rows(f"select cudagraph_mode as mode, tokens, coalesce(greatest(padded_tokens, tokens), tokens) as padded from {table('steps')} where tokens > 0 and cudagraph_mode is not null"):
        size = r["padded"] if r["mode"] != "NONE" else 1 << (r["padded"] - 1).bit_length()
        w = want.setdefault((r["mode"], size), [0, 0, 0])
        for i, v in enumerate((1, r["tokens"], r["padded"])):
            w[i] += v
    same("graph sizes", {(g["mode"], g["size"]): [g["steps"], g["tokens"], g["padded"]] for g in page["graphs"]}, want)


def experts():
    x = page["experts"]
    want = {(r["layer_idx"], r["expert_id"]): r["n"] for r in rows(f"select layer_idx, expert_id, sum(activations)::bigint as n from {table('moe_activations')} group by all")}
    if x is None:
        return same("experts", 0, len(want))
    same("layers", x["layers"], sorted({layer for layer, _ in want}))
    for layer, counts in zip(x["layers"], x["counts"]):
        for expert, n in enumerate(counts):
            same(f"layer {layer}, expert {expert}", n, want.get((layer, expert), 0))


def kernels():
    k = page["kernels"]
    want = {r["c"]: [r["n"], r["ns"]] for r in rows(f"select class as c, sum(kernels)::bigint as n, sum(duration_ns)::bigint as ns from {table('kernel_classes')} where name is null group by 1")}
    if k is None:
        return same("kernels", 0, len(want))
    same("classes of kernels", {c["name"]: [c["count"], c["sum_ns"]] for c in k["classes"]}, want)
    top = rows(f"select sum(kernels)::bigint as n, sum(duration_ns)::bigint as ns from {table('kernel_classes')} where name is not null group by name order by ns desc, name limit 20")
    moved = {r["c"]: r["b"] for r in rows(f"select class as c, sum((dram_read_bytes_per_s + dram_write_bytes_per_s) * duration_ns) / sum(duration_ns) as b from {table('kernel_classes')} where name is null and method is not null and (dram_error_bytes_per_s is null or dram_read_bytes_per_s + dram_write_bytes_per_s > dram_error_bytes_per_s) group by 1")}
    for c in k["classes"]:
        same(f"bandwidth of {c['name']}", c["bandwidth"] and round(c["bandwidth"]), moved.get(c["name"]) and round(moved[c["name"]]))
    same("kernels", [[c["count"], c["sum_ns"]] for c in k["names"]], [[r["n"], r["ns"]] for r in top])
    rest = [sum(w[i] for w in want.values()) - sum(r[c] for r in top) for i, c in enumerate(("n", "ns"))]
    same("other kernels", [k["other"]["count"], k["other"]["sum_ns"]], rest)
    w = rows(f"select count(*) as n, coalesce(sum(off_ns - on_ns), 0)::bigint as ns from {table('kernel_windows')}")[0]
    same("windows of kernels", [k["windows"], k["open_ns"]], [w["n"], w["ns"]])


def roofline():
    r = page["roofline"]
    steps = rows(f"select phase, model_bytes as b, model_flops as f, step_gpu_ns / 1e9 as s, mbu, mfu from {table('steps')} "
                 "where step_gpu_ns > 0 and model_bytes > 0 and model_flops > 0 order by start_ns, engine")
    if r is None:
        return same("roofline", 0, len(steps))
    want, near = {}, 0
    for x in steps:
        a, b = math.log10(x["f"] / x["b"]) * r["cells_a_decade"], math.log10(x["f"] / x["s"]) * r["cells_a_decade"]
        near += any(abs(v - round(v)) < 1e-9 for v in (a, b))
        key = (PHASES.index(x["phase"]), math.floor(a), math.floor(b))
        want[key] = want.get(key, 0) + 1
    same("steps in the roofline", r["steps"], len(steps))
    same("steps at a cell's edge", near, 0)  # there floating point may decide either way
    same("cells of the roofline", {(p, x, y): n for p, x, y, n in zip(r["phase"], r["x"], r["y"], r["count"])}, want)
    for name, of in (("bandwidth_bytes_per_s", lambda x: x["b"] / x["s"] / x["mbu"]), ("arithmetic_flops", lambda x: x["f"] / x["s"] / x["mfu"])):
        for x in steps:
            same(name, float(r[name]), of(x), 0.01)


def devices():
    for d in page["devices"]:
        at, width = undelta(d["bucket"]), d["width_ns"]
        names = {"sm": "sm_pct", "util": "util_pct", "dram": "dram_pct", "power": "power_w", "clock": "sm_clock_mhz"}
        select = ", ".join(f"count({of}) as {n}_n, avg({of}) * 1000 as {n}_mean, min({of}) * 1000 as {n}_min, max({of}) * 1000 as {n}_max" for n, of in names.items())
        want = {r["b"]: r for r in rows(f"select greatest(time_ns, 0) // {width} as b, {select} from {table('gpu_samples')} where gpu = {d['gpu']} group by 1")}
        same(f"GPU {d['gpu']}: buckets", at, sorted(b for b, r in want.items() if any(r[n + '_n'] for n in names)))
        for name, column in d["columns"].items():
            for i, b in enumerate(at):
                got, w = column[i], want[b][name]
                if got is None or w is None or name.endswith("_n"):
                    same(f"GPU {d['gpu']}, bucket {b}, {name}", got, w)
                else:
                    same(f"GPU {d['gpu']}, bucket {b}, {name}", abs(got - w) <= 1.5, True)  # thousandths, rounded


def requests():
    q = page["requests"]
    everyone = rows(f"select request_uid as uid, external_id as id, engine, finished_ns - arrival_ns as total, first_token_ns - arrival_ns as ttft, queue_ns as queue, "
                    f"case when output_tokens > 1 then decode_ns // (output_tokens - 1) end as tpot, prompt_tokens, output_tokens from {table('requests')}")
    same("requests", q["all"], len(everyone))
    byuid = {r["uid"]: r for r in everyone}
    for by, places in q["orders"].items():
        ranked = sorted((r for r in everyone if r[by] is not None), key=lambda r: (-r[by], r["uid"]))[:len(places)]
        same("slowest by " + by, [q["list"][i]["uid"] for i in places], [r["uid"] for r in ranked])
    for r in q["list"]:
        want = byuid[r["uid"]]
        same(f"request {r['uid']}: parts", sum(r["first"]) + sum(r["after"]), r["to_ns"] - r["from_ns"])
        if r["ttft_ns"] is not None:
            same(f"request {r['uid']}: parts to the first token", sum(r["first"]), want["ttft"])
        for name, of in (("ttft_ns", "ttft"), ("tpot_ns", "tpot"), ("queue_ns", "queue"), ("id", "id"), ("engine", "engine"), ("prompt_tokens", "prompt_tokens"), ("output_tokens", "output_tokens")):
            same(f"request {r['uid']}: {name}", r[name], want[of])


def moments():
    worst = {"longest_prefill": "case when phase = 'prefill' then end_ns - start_ns end", "longest_mixed": "case when phase = 'mixed' then end_ns - start_ns end",
             "longest_decode": "case when phase = 'decode' then end_ns - start_ns end", "gpu_idle": "case when tokens > 0 and new_requests < requests then gpu_idle_ns end",
             "waiting": "waiting", "kv_full": "kv_used_blocks", "preempted": "preempted", "most_tokens": "tokens",
             "padding": "case when cudagraph_mode <> 'NONE' then padded_tokens - tokens end",
             "eager_decode": "case when phase = 'decode' and cudagraph_mode = 'NONE' and new_requests < requests then gpu_idle_ns end"}
    found = {m["key"]: m for m in page["moments"]}
    for key, of in worst.items():
        top = rows(f"select engine, start_ns, {of} as v from {table('steps')} where {of} > 0 order by v desc, start_ns, engine limit 1")
        same(f"{key}: found", key in found, bool(top))
        if key in found and top:
            m = found[key]
            same(f"{key}: step", m["engine"] == top[0]["engine"] and m["from_ns"] <= top[0]["start_ns"] <= m["to_ns"], True)


for e in page["engines"]:
    timeline(e)
total = rows(f"select count(*) as n, min(start_ns) as low from {table('steps')}")[0]
same("steps", [page["steps"], page["from_ns"]], [total["n"], total["low"]])
for check in (windows, latencies, graphs, experts, kernels, roofline, devices, requests, moments):
    check()
print(json.dumps({"compared": compared, "wrong": wrong}))
