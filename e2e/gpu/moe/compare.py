#!/usr/bin/env python3
"""compare.py SESSION TRUTH.json: pmtrace's moe_activations and moe_coselection against the plugin's counts. Needs duckdb."""
import json
import sys

import duckdb

session, truth = sys.argv[1], json.load(open(sys.argv[2]))
layers, experts = len(truth["counts"]), len(truth["counts"][0])
got = {(l, e): n for l, e, n in duckdb.sql(
    f"select layer_idx, expert_id, sum(activations) from '{session}/parquet/moe_activations/*.parquet' group by all").fetchall()}
order = sorted({l for l, _ in got})
wrong = [(l, e, truth["counts"][i][e], got.get((l, e), 0)) for i, l in enumerate(order) for e in range(experts)
         if truth["counts"][i][e] != got.get((l, e), 0)]
total = sum(map(sum, truth["counts"]))
print(f"layers {len(order)} of {layers}, steps {truth['steps']}, tokens {truth['tokens']}: want {total} activations, got {sum(got.values())}; "
      f"{len(wrong)} of {layers * experts} counts differ {wrong[:5]}")
pairs = {(l, a, b): n for l, a, b, n in duckdb.sql(
    f"select layer_idx, expert_id_1, expert_id_2, sum(count) from '{session}/parquet/moe_coselection/*.parquet' group by all").fetchall()}
bad = sum(truth["pairs"][i][a * experts + b] != pairs.get((l, a, b), 0) for i, l in enumerate(order) for a in range(experts) for b in range(a + 1, experts))
print(f"{bad} of {layers * experts * (experts - 1) // 2} pairs differ")
sys.exit(len(wrong) + bad + abs(layers - len(order)) > 0)
