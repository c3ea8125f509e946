#!/usr/bin/env bash
# run.sh VERSION quick|all: traces a real vLLM under load and compares each session with the server's word.
#
# quick: attach to a fresh server; concurrency 1, 8 and 64 with shared prefixes and too few KV blocks.
# all:   quick, then attach in the middle of a load, kill the tracer with SIGKILL, record from the start.
# What it leaves is in build/e2e/VERSION. Needs what `make e2e` has set up.
. "$(dirname "$0")/setup/lib.sh"
. "$(dirname "$0")/environment.sh"
cd "$SETUP/../.."
version=$1 mode=$2
out=$PWD/build/e2e/$version
as_root rm -rf "$out"
mkdir -p "$out"
log=$out/server.log
python=$PMTRACE_CACHE/vllm-$version/bin/python
analysis=$PMTRACE_CACHE/analysis/bin/python
options=(--num-gpu-blocks-override 300 --max-num-seqs 64)
root=()
[ "$(id -u)" = 0 ] || root=(sudo -E)
server='' tracer='' failed=()

cleanup() {
	[ -z "$tracer" ] || "${root[@]}" kill -TERM "$tracer" 2>/dev/null || true
	[ -z "$server" ] || e2e/serve.sh stop "$server" || true
}
trap cleanup EXIT

start_server() {
	local line
	line=$(e2e/serve.sh start "$version" "$log" "${options[@]}")
	read -r server port <<<"$line"
	url=http://127.0.0.1:$port
}

# attach NAME: traces the server into $out/NAME, returns when it is armed.
attach() {
	mkdir -p "$out/$1"
	log_from=$(stat -c %s "$log")
	"${root[@]}" ./pmtrace attach --pid "$server" --output-dir "$out/$1" >"$out/$1.out" 2>"$out/$1.err" </dev/null 9>&- &
	tracer=$!
	for _ in $(seq 300); do
		armed "$1" && return
		kill -0 $tracer 2>/dev/null || { cat "$out/$1.err" >&2; die "pmtrace ended while attaching"; }
		sleep 0.1
	done
	die "pmtrace is not armed after 30 s, see $out/$1.err"
}
# It says so once watches are set.
armed() { [ -n "$(find "$out/$1" -path '*/journal/*' -type f 2>/dev/null)" ] && grep -q 'tracing engine' "$out/$1.err"; }

detach() { # NAME: prints the session's directory
	"${root[@]}" kill -TERM "$tracer"
	local rc=0
	wait "$tracer" || rc=$?
	tracer=''
	[ $rc = 0 ] || { cat "$out/$1.err" >&2; die "pmtrace ended with exit code $rc"; }
}
session() { find "$out/$1" -maxdepth 1 -name 'session_*' -type d | sort | tail -1; }

load() { # NAME ARGUMENTS…
	local name=$1
	shift
	"$python" e2e/load/load.py --url "$url" --out "$out/$name.jsonl" --id-prefix "$name" "$@"
}

scrape() { python3 e2e/load/metrics.py scrape "$url" >"$out/$1.json"; }

verdict() { # NAME ARGUMENTS…: the truth table of a session
	local name=$1
	shift
	echo "--- vLLM $version: $name"
	"$analysis" e2e/truth.py --session "$(session "$name")" --log "$log" --log-from "$log_from" "$@" || failed+=("$name")
}

# again NAME: decode makes the same bytes as the live run did.
again() {
	local copy=$out/$1-decoded live
	live=$(session "$1")
	mkdir "$copy"
	cp -r "$live" "$copy/"
	copy=$copy/$(basename "$live")
	find "$copy" -mindepth 1 -maxdepth 1 ! -name journal -exec rm -r {} +
	./pmtrace decode "$copy" >"$out/$1-decode.out" 2>&1 || { cat "$out/$1-decode.out"; failed+=("$1: decode"); return; }
	diff -rq -x metadata.json -x pmtrace.log "$live" "$copy" && echo "decode of $1 is the same to the byte" || failed+=("$1: decode differs")
}

start_server
scrape before
attach quick
load c1 -c 1 -n 6 --seed 1
load c8 -c 8 -n 60 --seed 2 --prefix-fraction 0.5 --prefix-tokens 128 --eos-fraction 0.2 --abort-fraction 0.05
load c64 -c 64 -n 250 --seed 3 --prefix-fraction 0.5 --prefix-tokens 128 --eos-fraction 0.1 --abort-fraction 0.03
sleep 1 # for the aborts of clients that hung up last, and the log
scrape after
detach quick
verdict quick --load "$out"/c{1,8,64}.jsonl --before "$out/before.json" --after "$out/after.json"
again quick

if [ "$mode" = all ]; then
	load mid -c 16 -n 300 --seed 4 --prefix-fraction 0.3 --prefix-tokens 128 --output-tokens 32:256 &
	loading=$!
	sleep 3
	attach mid
	wait $loading
	sleep 1
	detach mid
	verdict mid --mid --load "$out/mid.jsonl"
	again mid

	attach killed
	load killed -c 16 -n 200 --seed 5 >"$out/killed.load" &
	loading=$!
	sleep 3
	"${root[@]}" kill -KILL "$(pgrep -n -f "pmtrace attach --pid $server")" 2>/dev/null || "${root[@]}" kill -KILL "$tracer"
	wait "$tracer" 2>/dev/null || true
	tracer=''
	wait $loading || failed+=("the server was harmed by SIGKILL of pmtrace")
	./pmtrace decode "$(session killed)" >"$out/killed.decode" 2>&1 || { cat "$out/killed.decode"; failed+=("decode after SIGKILL"); }
	verdict killed --mid --load "$out/killed.jsonl"
	e2e/serve.sh stop "$server"
	server=''

	log=$out/record.log log_from=0
	port=$(free_port) url=http://127.0.0.1:$port
	mapfile -t argv < <(e2e/serve.sh command "$version" "$port" "${options[@]}" | tr ' ' '\n')
	mkdir -p "$out/record"
	./pmtrace record --output-dir "$out/record" -- "${argv[@]}" >"$log" 2>"$out/record.err" </dev/null 9>&- &
	tracer=$!
	await_health "$port" $tracer || { cat "$out/record.err" >&2; tail -20 "$log" >&2; die "the recorded server did not start"; }
	scrape before
	load record -c 16 -n 120 --seed 6 --prefix-fraction 0.5 --prefix-tokens 128 --eos-fraction 0.1
	sleep 1
	scrape after
	kill -TERM $tracer
	wait $tracer || true # the server's own exit code
	tracer=''
	verdict record --load "$out/record.jsonl" --before "$out/before.json" --after "$out/after.json"
	again record
fi

[ ${#failed[@]} = 0 ] || { printf 'FAILED: %s\n' "${failed[@]}"; exit 1; }
echo "vLLM $version: all as the server says"
