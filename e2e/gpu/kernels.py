#!/usr/bin/env python3
"""kernels.py SESSION TRACE.json[.gz]: the kernels of a recorded server's windows against torch.profiler's of another server of
the same kind under the same load. Needs pyarrow and libstdc++.

A kernel is compared by its name (demangled) and grid, where each has at least 50 of it: the medians of their times; and how often it ran
for each run of the kernel that attends, which is a ratio of small whole numbers. It prints one JSON object.
"""
import collections
import ctypes
import gzip
import json
import re
import statistics
import sys

import pyarrow.dataset as ds

LEAST = 50
cxx = ctypes.CDLL("libstdc++.so.6")
cxx.__cxa_demangle.restype = ctypes.c_void_p
cxx.__cxa_demangle.argtypes = [ctypes.c_char_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.POINTER(ctypes.c_int)]
free = ctypes.CDLL(None).free
free.argtypes = [ctypes.c_void_p]


def demangled(name):
    status = ctypes.c_int()
    p = cxx.__cxa_demangle(name.encode(), None, None, ctypes.byref(status))
    if not p:
        return name
    out = ctypes.string_at(p).decode()
    free(p)
    return out


def ours(session):
    t = ds.dataset(f"{session}/parquet/kernels").to_table(columns=["name", "grid_x", "grid_y", "grid_z", "duration_ns", "bytes", "class"])
    names, out, classes = {}, collections.defaultdict(list), {}
    for name, x, y, z, ns, size, kind in zip(*(t.column(i).to_pylist() for i in range(t.num_columns))):
        if size is None:
            key = names.setdefault(name, demangled(name)), x, y, z
            out[key].append(ns / 1000)
            classes[key] = kind
    return out, classes


def theirs(path):
    with (gzip.open if path.endswith(".gz") else open)(path, "rt") as f:
        trace = json.load(f)
    out = collections.defaultdict(list)
    for e in trace["traceEvents"]:
        if e.get("cat") == "kernel":
            out[(demangled(e["name"]), *e["args"]["grid"])].append(e["dur"])
    return out


a, classes = ours(sys.argv[1])
b = theirs(sys.argv[2])
both = [k for k in a if len(a[k]) >= LEAST and len(b.get(k, [])) >= LEAST]
time_a, time_b = (sum(map(sum, t.values())) for t in (a, b))
rows = sorted(({"kernel": re.sub(r"\s+", " ", k[0])[:100], "grid": k[1:], "class": classes[k], "ours": len(a[k]), "torch": len(b[k]),
                "ours_us": round(statistics.median(a[k]), 3), "torch_us": round(statistics.median(b[k]), 3),
                "ratio": round(statistics.median(a[k]) / statistics.median(b[k]), 4), "share": sum(a[k]) / time_a} for k in both),
              key=lambda r: -r["share"])
weight = sum(r["share"] for r in rows)
print(json.dumps({
    "kernels": {"ours": sum(map(len, a.values())), "torch": sum(map(len, b.values()))},
    "names_and_grids": {"ours": len(a), "torch": len(b), "compared": len(both)},
    "names": {"ours": len({k[0] for k in a}), "torch": len({k[0] for k in b}), "both": len({k[0] for k in a} & {k[0] for k in b})},
    "time_compared_share": {"ours": round(weight, 4), "torch": round(sum(sum(b[k]) for k in both) / time_b, 4)},
    "ratio_by_time": round(sum(r["ratio"] * r["share"] for r in rows) / weight, 4) if rows else None,
    "off_by_more_than_5_pct_by_time": round(sum(r["share"] for r in rows if abs(r["ratio"] - 1) > 0.05) / weight, 4) if rows else None,
    "rows": [{**r, "share": round(r["share"], 4)} for r in rows[:25]],
}, indent=1))
