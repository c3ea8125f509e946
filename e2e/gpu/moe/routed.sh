#!/usr/bin/env bash
# routed.sh PID PORT TRUTH OUT [attach's flags]: attaches to a server with --enable-return-routed-experts, puts it under load
# (1, 32 and 128 clients, shared prefixes, aborts, long prompts), and compares what pmtrace read of vLLM's own routed experts
# with what the plugin beside this script counted in the routers (TRUTH: its PMTRACE_MOE_TRUTH). Leaves everything in OUT.
#
# The server, idle and without a request before: VLLM_USE_V2_MODEL_RUNNER=1 PMTRACE_MOE_TRUTH=TRUTH and this directory on
# PYTHONPATH; vllm serve MODEL --served-model-name m --enable-return-routed-experts, and no --no-enable-prefix-caching.
# BIN: directory of pmtrace, load.py and metrics.py; PYTHON needs aiohttp, COMPARE (default: PYTHON) duckdb.
set -uo pipefail
pid=$1 url=http://127.0.0.1:$2 truth=$3 out=$4
here=$(dirname "${BASH_SOURCE[0]}")
shift 4
. "$here/../lib.sh"
mkdir -p "$out"

"$bin/pmtrace" attach --pid "$pid" --output-dir "$out" --log-interval 0 "$@" >"$out/pmtrace.out" 2>&1 &
tracer=$!
for _ in $(seq 100); do
	grep -q "writing to" "$out/pmtrace.out" && break
	sleep 0.1
done
sleep 1
load c1 -c 1 -n 5 --seed 1 -i 64 -o 96:128
load c32 -c 32 -n 160 --seed 2 -i 16:256 -o 32:192 --prefix-fraction .5 --prefix-tokens 128 --eos-fraction .2 --abort-fraction .1
load c128 -c 128 -n 384 --seed 3 -i 16:128 -o 16:64
load long -c 8 -n 32 --seed 4 -i 1500:3500 -o 8:32
sleep 3 # the plugin writes once a second, when it has counted all
kill -INT $tracer
wait $tracer
say pmtrace $?
session=$(ls -d "$out"/session_*)
"${COMPARE:-$python}" "$here/compare.py" "$session" "$(engines "$truth")" | tee "$out/compare.txt"
say compare "${PIPESTATUS[0]}"
grep -E "Lost events|Unavailable|MoE" "$out/pmtrace.out"
exit "$failed"
