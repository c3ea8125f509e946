#!/usr/bin/env bash
# recorded.sh PID PORT LOG EVENTS OUT: puts a server that `pmtrace record --cupti on --output-dir OUT` started (PID) under the
# load of check.sh, ends it, and compares the session with the CUDA events around each replay (inject/replays.c, LD_PRELOAD,
# PMTRACE_REPLAYS=EVENTS), vLLM's own log, and /metrics since OUT/before.json (metrics.py scrape, before any request).
# Flags of the server, BIN and PYTHON: check.sh.
set -uo pipefail
pid=$1 url=http://127.0.0.1:$2 log=$3 events=$4 out=$5
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

session=$(ls -d "$out"/session_*)
touch "$events.on"
load c1 -c 1 -n 8 --seed 1 -i 64 -o 96:128
load c32 -c 32 -n 320 --seed 2 -i 16:256 -o 32:192 --prefix-fraction .5 --prefix-tokens 128 --eos-fraction .2 --abort-fraction .1
load c128 -c 128 -n 384 --seed 3 -i 16:128 -o 16:64
load long -c 8 -n 32 --seed 4 -i 1500:3500 -o 8:32
rm -f "$events.on"
sleep 2.5
"$python" "$bin/metrics.py" scrape "$url" >"$out/after.json"
kill -INT "$pid"
for _ in $(seq 300); do
	kill -0 "$pid" 2>/dev/null || break
	sleep 0.1
done
records=$(engines "$events")
"$bin/gpu" -session "$session" -events "$records" -log "$log" >"$out/gpu.json" 2>"$out/gpu.err"
say gpu $?
"$bin/truth" --session "$session" --log "$log" --load "$out/c1.jsonl" --load "$out/c32.jsonl" \
	--load "$out/c128.jsonl" --load "$out/long.jsonl" --before "$out/before.json" --after "$out/after.json" --async >"$out/truth.txt" 2>&1
say truth $?
tail -1 "$out/truth.txt"
exit "$failed"
