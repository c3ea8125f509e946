#!/bin/sh
# run.sh DIR: tries pmtrace on this kernel, from the repository's root; what comes out goes to DIR.
# PMTRACE_GUEST_RUN selects: check, bpf, probes, e2e.
out=$1
uname -r >"$out/release"

# step NAME SECONDS COMMAND…: its output to NAME.txt, its exit code to NAME.rc.
step() {
	name=$1 limit=$2
	shift 2
	began=$(cut -d' ' -f1 /proc/uptime)
	timeout -k 5 "$limit" "$@" >"$out/$name.txt" 2>"$out/$name.err"
	echo $? >"$out/$name.rc"
	echo "guest: $name: exit $(cat "$out/$name.rc") at $(cut -d' ' -f1 /proc/uptime) s, from $began s"
}

# tests NAME SECONDS DIR BINARY ARGUMENT…
tests() {
	name=$1 limit=$2 dir=$3
	shift 3
	step "$name" "$limit" sh -c 'cd "$0" && exec "$@"' "$dir" "$@" -test.v -test.timeout "${limit}s"
}

. /work/selection
export PMTRACE_VERIFIER=$out/verifier PMTRACE_E2E_PROGRAMS=/work/programs
step check 60 programs/pmtrace check --json
step record 60 programs/pmtrace record --output-dir /tmp/record -- true # refused, or no server
tests bpf 300 bpf /work/programs/bpf.test
[ -z "$PROBES" ] || tests probes 1500 probes /work/programs/probes.test -test.run "$PROBES"
[ -z "$E2E" ] || tests e2e 900 e2e /work/programs/e2e.test -test.run "$E2E"
dmesg >"$out/dmesg.txt"
