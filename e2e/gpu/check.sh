#!/usr/bin/env bash
# check.sh PID PORT LOG TRUTH OUT [attach's flags]: attaches to a server on a GPU, puts it under load (1, 32 and 128
# clients, shared prefixes, aborts, long prompts), and compares the session with CUPTI's records, vLLM's own log and
# /metrics, and the clients' counts. Leaves everything in OUT.
#
# The server must run inject/truth.c (CUDA_INJECTION64_PATH, PMTRACE_TRUTH=TRUTH), serve the model as "m", log to LOG, and
# have --enable-logging-iteration-details --enable-prompt-tokens-details --enable-request-id-headers --kv-cache-metrics
# --kv-cache-metrics-sample 1.0 --cudagraph-metrics, and VLLM_LOG_STATS_INTERVAL=2 in its environment.
# BIN: directory of pmtrace, gpu (this package), truth (e2e/truth), load.py and metrics.py; PYTHON needs aiohttp.
set -uo pipefail
pid=$1 url=http://127.0.0.1:$2 log=$3 truth=$4 out=$5
shift 5
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
mkdir -p "$out"

from=$(stat -c %s "$log")
"$python" "$bin/metrics.py" scrape "$url" >"$out/before.json"
"$bin/pmtrace" attach --pid "$pid" --output-dir "$out" --log-interval 0 "$@" >"$out/pmtrace.out" 2>&1 &
tracer=$!
for _ in $(seq 100); do
	grep -q "writing to" "$out/pmtrace.out" && break
	sleep 0.1
done
sleep 2 # the names of the graphs
load c1 -c 1 -n 5 --seed 1 -i 64 -o 96:128
load c32 -c 32 -n 160 --seed 2 -i 16:256 -o 32:192 --prefix-fraction .5 --prefix-tokens 128 --eos-fraction .2 --abort-fraction .1
load c128 -c 128 -n 384 --seed 3 -i 16:128 -o 16:64
load long -c 8 -n 32 --seed 4 -i 1500:3500 -o 8:32
sleep 1.5
"$python" "$bin/metrics.py" scrape "$url" >"$out/after.json"
sleep 1
kill -INT $tracer
wait $tracer
say pmtrace $?
sleep 2.5 # the log's last table
session=$(ls -d "$out"/session_*)
records=$(engines "$truth")
"$bin/gpu" -session "$session" -truth "$records" -log "$log" -log-from "$from" >"$out/gpu.json" 2>"$out/gpu.err"
say gpu $?
"$bin/truth" --session "$session" --log "$log" --log-from "$from" --load "$out/c1.jsonl" --load "$out/c32.jsonl" --load "$out/c128.jsonl" \
	--load "$out/long.jsonl" --before "$out/before.json" --after "$out/after.json" --async >"$out/truth.txt" 2>&1
say truth $?
tail -1 "$out/truth.txt"
exit "$failed"
