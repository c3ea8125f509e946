#!/bin/sh
# Makes layout_gen.go and opcodes_gen.go again from the test interpreters'
# headers. Run it in probes/cpython; the first argument is the directory to
# write to, that one by default.
set -eu
out=${1:-.}
home=${XDG_CACHE_HOME:-$HOME/.cache}/pmtrace/cpython
set --
for v in 3.10 3.11 3.12 3.13 3.14; do
	set -- "$@" "$v=$home/$v/include/python$v"
done
exec go run ./gen -o "$out" "$@"
