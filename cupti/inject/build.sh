#!/usr/bin/env bash
# build.sh [FILE]: makes libpmtrace_cupti.so (x86-64) with gcc, stripped, unless FILE is of these sources
# already. The sources' hash stands in it: a test compares the two, since compilers differ in the bytes.
set -euo pipefail
cd "$(dirname "$0")"
out=${1:-libpmtrace_cupti.so}
sources=$(cat c/*.c c/*.h ../../bpf/cupti.h ../../bpf/event.h build.sh | sha256sum | cut -d' ' -f1)
if [ -e "$out" ] && grep -qF "libpmtrace_cupti sources $sources" "$out"; then
	exit 0
fi
# Old versions of symbols, so that it loads where glibc is older than here.
gcc -std=gnu11 -O2 -Wall -Wextra -Werror -fPIC -shared -fvisibility=hidden -ftls-model=global-dynamic \
	-fno-plt -ffile-prefix-map="$PWD"=. -frandom-seed=pmtrace -DPM_SOURCES="\"$sources\"" \
	-include c/glibc.h -o "$out.new" c/*.c \
	-Wl,-soname,libpmtrace_cupti.so -Wl,--build-id=none -Wl,-z,nodelete -Wl,-z,relro -Wl,-z,now \
	-Wl,--as-needed -s
mv "$out.new" "$out"
