#!/usr/bin/env bash
# serve.sh start VERSION LOG [vllm serve arguments…]: starts a real server with the tiny model, waits until
# it answers, prints "PID PORT" (PID leads its process group). serve.sh stop PID: ends it, and waits for that.
# serve.sh command VERSION PORT […]: prints the command that start would run, for `pmtrace record --`.
# VERSION is that of an environment of setup/vllm.sh: 0.32.0, or 0.32.0-py3.12.
# Arguments given here come last and so win. PMTRACE_SERVE_WRAP is put before the command, PMTRACE_SERVE_MODEL
# is a model to take the place of the tiny one.
. "$(dirname "$0")/setup/lib.sh"

. "$(dirname "$0")/environment.sh"

# newer VERSION RELEASE: whether a server, "0.12.0" or "0.12.0-py3.12", is of that release or a later one.
newer() { [ "$(printf '%s\n' "$2" "${1%%-*}" | sort -V | head -1)" = "$2" ]; }

command_line() { # VERSION PORT […]
	local version=$1 port=$2 words=()
	shift 2
	newer "$version" 0.12 && words+=(--kv-cache-metrics --kv-cache-metrics-sample 1.0)
	newer "$version" 0.14 && words+=(--enable-logging-iteration-details)
	echo "$PMTRACE_CACHE/vllm-$version/bin/vllm" serve "${PMTRACE_SERVE_MODEL:-$PMTRACE_CACHE/models/tiny}" --served-model-name tiny \
		--host 127.0.0.1 --port "$port" --load-format dummy --enforce-eager --dtype bfloat16 \
		--max-model-len 2048 --max-num-seqs 128 --block-size 32 \
		--enable-prompt-tokens-details --enable-request-id-headers "${words[@]}" "$@"
}

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
	await_health "$port" "$pid" || {
		kill -KILL -- "-$pid" 2>/dev/null || true
		tail -40 "$log" >&2
		grep -E '(Error|Exception): ' "$log" | tail -5 >&2 || true # the engine's own is further up
		die "the server did not start, see $log"
	}
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
*) sed -n '2,7s/^# //p' "$0"; exit 2 ;;
esac
