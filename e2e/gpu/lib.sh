# shellcheck shell=bash disable=SC2034 # what is set is for those who source this
# What check.sh and recorded.sh share; they set url and out. BIN and PYTHON: check.sh.
: "${url:?}" "${out:?}"
bin=${BIN:-.} python=${PYTHON:-python3} failed=0

load() { # NAME [load.py's arguments]
	local name=$1
	shift
	"$python" "$bin/load.py" --url "$url" --model m --vocab 32000 --out "$out/$name.jsonl" --id-prefix "$name" "$@" >"$out/$name.sum" 2>&1
}

say() { # NAME STATUS
	echo "$1: $2"
	[ "$2" = 0 ] || failed=1
}

engines() { # FILE: of the files FILE.PID that processes wrote, the engine's: the largest
	find "$(dirname "$1")" -name "$(basename "$1").[0-9]*" -printf '%s %p\n' | sort -n | tail -1 | cut -d' ' -f2
}
