#!/usr/bin/env bash
# serve.sh start VERSION LOG [vllm serve arguments…]: starts a real server with the tiny model, waits until
# it answers, prints "PID PORT" (PID leads its process group). serve.sh stop PID: ends it, and waits for that.
# serve.sh command VERSION PORT […]: prints the command that start would run, for `pmtrace record --`.
#
# Arguments given here come last and so win. PMTRACE_SERVE_WRAP is put before the command.
. "$(dirname "$0")/setup/lib.sh"

export HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 VLLM_NO_USAGE_STATS=1 DO_NOT_TRACK=1 TOKENIZERS_PARALLELISM=false
export VLLM_CPU_KVCACHE_SPACE=${VLLM_CPU_KVCACHE_SPACE:-1} # GiB
# Without this the first request that samples makes Inductor compile the sampler: half a minute in one step.
export TORCH_COMPILE_DISABLE=1
# One thread: at these sizes more threads wait for one another.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}

command_line() { # VERSION PORT […]
	local version=$1 port=$2
	shift 2
	echo "$PMTRACE_CACHE/vllm-$version/bin/vllm" serve "$PMTRACE_CACHE/models/tiny" --served-model-name tiny \
		--host 127.0.0.1 --port "$port" --load-format dummy --enforce-eager --dtype bfloat16 \
		--max-model-len 2048 --max-num-seqs 128 --block-size 32 \
		--enable-logging-iteration-details --enable-prompt-tokens-details --enable-request-id-headers \
		--kv-cache-metrics --kv-cache-metrics-sample 1.0 "$@"
}

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

case ${1:-} in
command)
	shift
	command_line "$@"
	;;
start)
	version=$2 log=$3
	shift 3
	port=$(free_port)
	mapfile -t argv < <(command_line "$version" "$port" "$@" | tr ' ' '\n')
	began=$SECONDS
	# shellcheck disable=SC2086 # the wrapper may have arguments
	setsid ${PMTRACE_SERVE_WRAP:-} "${argv[@]}" >"$log" 2>&1 </dev/null 9>&- &
	pid=$!
	until curl -sf -o /dev/null "http://127.0.0.1:$port/health"; do
		kill -0 $pid 2>/dev/null || { tail -40 "$log" >&2; die "the server ended while starting, see $log"; }
		[ $((SECONDS - began)) -lt 300 ] || { kill -KILL -- -$pid; tail -40 "$log" >&2; die "the server did not answer in 300 s, see $log"; }
		sleep 0.2
	done
	say "vllm $version answers on port $port after $((SECONDS - began)) s (pid $pid)"
	echo "$pid $port"
	;;
stop)
	pid=$2
	kill -INT "$pid" 2>/dev/null || true
	for _ in $(seq 150); do
		kill -0 -- "-$pid" 2>/dev/null || exit 0
		sleep 0.1
	done
	kill -KILL -- "-$pid" 2>/dev/null || true
	;;
*) sed -n '2,6s/^# //p' "$0"; exit 2 ;;
esac
