#!/usr/bin/env bash
# clang.sh: the one clang that makes the committed BPF objects, and clang-format.
#   $PMTRACE_CACHE/bin/clang-bpf, bpf-strip, clang-format
#
# Distributions differ in the clang they have, and objects must come out the same to the byte
# everywhere. The wheel of ziglang carries a whole clang with the BPF target (`zig clang`),
# one pinned file for every Linux; the programs include no header of the system.
. "$(dirname "$0")/lib.sh"
ZIGLANG=0.16.0       # clang 21.1.0
CLANG_FORMAT=21.1.8
CLANG_VERSION='clang version 21.1.0'

venv=$PMTRACE_CACHE/clang
bin=$PMTRACE_CACHE/bin
key=$ZIGLANG-$CLANG_FORMAT-$(cat "$0" "$SETUP/bpf_strip.py" | sha256sum)
only_one clang
if ! stamped clang "$key" || ! "$bin/clang-bpf" --version >/dev/null 2>&1; then
	need_uv
	say "clang from ziglang $ZIGLANG, clang-format $CLANG_FORMAT"
	rm -rf "$venv"
	"$UV" venv -q --python "$(python_for 8 99)" "$venv"
	"$UV" pip install -q --python "$venv/bin/python" "ziglang==$ZIGLANG" "clang-format==$CLANG_FORMAT"
	zig=$("$venv/bin/python" -c 'import os, ziglang; print(os.path.join(os.path.dirname(ziglang.__file__), "zig"))')
	printf '#!/bin/sh\nexec "%s" clang "$@"\n' "$zig" >"$bin/clang-bpf"
	printf '#!/bin/sh\nexec "%s" "%s" "$@"\n' "$venv/bin/python" "$venv/bpf_strip.py" >"$bin/bpf-strip"
	cp "$SETUP/bpf_strip.py" "$venv/"
	ln -sf "$venv/bin/clang-format" "$bin/clang-format"
	chmod +x "$bin/clang-bpf" "$bin/bpf-strip"
	case $("$bin/clang-bpf" --version) in
	"$CLANG_VERSION"*) ;;
	*) die "ziglang $ZIGLANG has another clang than $CLANG_VERSION" ;;
	esac
	stamp clang "$key"
fi
echo "$bin"
