# shellcheck shell=bash
# How every server is started here, and how to wait for one. Sourced.

export HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 VLLM_NO_USAGE_STATS=1 DO_NOT_TRACK=1 TOKENIZERS_PARALLELISM=false
export VLLM_CPU_KVCACHE_SPACE=${VLLM_CPU_KVCACHE_SPACE:-1} # GiB
# Without this the first request that samples makes Inductor compile the sampler: half a minute in one step.
export TORCH_COMPILE_DISABLE=1
# One thread: at these sizes more threads wait for one another.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# healthy PORT: asked by bash itself, which takes nothing from a server that is starting.
healthy() (
	exec 3<>"/dev/tcp/127.0.0.1/$1" && printf 'GET /health HTTP/1.0\r\n\r\n' >&3 && read -r -t 5 _ status _ <&3 && [ "$status" = 200 ]
)

# await_health PORT PID [SECONDS]: until the server answers; fails when PID ends before or time is up.
await_health() {
	local until=$((SECONDS + ${3:-900}))
	until healthy "$1" 2>/dev/null; do
		kill -0 "$2" 2>/dev/null && [ $SECONDS -lt $until ] || return 1
		sleep 0.3
	done
}
