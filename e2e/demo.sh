#!/usr/bin/env bash
# demo.sh [VERSION]: records a real vLLM on the CPU under some load, then asks the tables three questions.
# `make demo` has set up all it needs.
. "$(dirname "$0")/setup/lib.sh"
cd "$SETUP/../.."
version=${1:-0.32.0}
place=${PMTRACE_OUTPUT_DIR:-$PWD/build/demo}
mkdir -p "$place"
log=$place/server.log
python=$PMTRACE_CACHE/vllm-$version/bin/python
. e2e/environment.sh
port=$(free_port)

# 300 blocks of 32 tokens for 48 requests at a time: too few, so that some are preempted.
mapfile -t serve < <(e2e/serve.sh command "$version" "$port" --num-gpu-blocks-override 300 | tr ' ' '\n')
echo "$ pmtrace record --output-dir $place -- ${serve[*]}"
echo "  (the server's own log: $log)"
./pmtrace record --output-dir "$place" -- "${serve[@]}" >"$log" 2> >(tee "$place/pmtrace.err" >&2) </dev/null 9>&- &
tracer=$!
trap 'kill -TERM $tracer 2>/dev/null || true' EXIT
await_health "$port" "$tracer" || die "the server did not start, see $log"

echo "$ e2e/load/load.py: 400 requests, 48 at a time, two thirds with one of 4 shared prefixes"
"$python" e2e/load/load.py --url "http://127.0.0.1:$port" --out "$place/load.jsonl" -n 400 -c 48 \
	--prompt-tokens 16:256 --output-tokens 16:128 --prefix-fraction 0.66 --prefix-tokens 128 \
	--eos-fraction 0.1 --abort-fraction 0.03 --seed 7

trap - EXIT
kill -TERM $tracer
wait $tracer || true # the server's own exit code
session=$(find "$place" -maxdepth 1 -name 'session_*' -type d | sort | tail -1)
[ -n "$session" ] || die "no session in $place"
echo "$ ls $session"
ls "$session"
"$PMTRACE_CACHE/analysis/bin/python" e2e/demo.py "$session"
echo "$ pmtrace report $session"
./pmtrace report "$session"
