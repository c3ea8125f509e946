#!/usr/bin/env bash
# build.sh DIR: the stub's libraries (gpu.h), laid out under DIR as wheels and a driver lay out the real ones:
#   driver/libcuda.so.1
#   site/nvidia/cu13/lib/libcudart.so.13            which torch links
#   site/nvidia/cu13/lib/libcupti.so.13
#   site/nvidia/nccl/lib/libnccl.so.2
#   site/torch/lib/libc10_cuda.so
#   site/torchvision.libs/libcudart.1234abcd.so.13  another copy, which nothing calls
# Needs gcc only. Does nothing where DIR is up to date.
# shellcheck disable=SC2016 # $ORIGIN is the dynamic loader's
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
dir=${1:?directory}
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
key=$(cat "$here"/*.[ch] "$here"/../../cupti/inject/{c/{abi,choices}.h,cuda/choices.cu,testdata/host_cuda.h} "$here"/*.map "$0" | sha256sum)
[ "$(cat "$dir/.built" 2>/dev/null)" != "$key" ] || exit 0

# Tests of several packages may build at the same time.
exec 9>"$dir/.lock"
flock 9
[ "$(cat "$dir/.built" 2>/dev/null)" != "$key" ] || exit 0

library() { # SONAME FILE SOURCE FLAG…
	mkdir -p "$(dirname "$dir/$2")"
	gcc -std=gnu11 -O2 -g -Wall -Wextra -Werror -fPIC -fvisibility=hidden -fno-optimize-sibling-calls \
		-shared -Wl,-soname,"$1" -o "$dir/$2.new" "$here/$3" "${@:4}"
	mv "$dir/$2.new" "$dir/$2"
}

driver=(-L"$dir/driver" -l:libcuda.so.1)
library libcuda.so.1 driver/libcuda.so.1 gpu.c "$here/device.c" -pthread -ldl
library libcudart.so.13 site/nvidia/cu13/lib/libcudart.so.13 cudart.c \
	-Wl,--version-script="$here/cudart.map" "${driver[@]}" -Wl,-rpath,'$ORIGIN/../../../../driver'
library libcudart.1234abcd.so.13 site/torchvision.libs/libcudart.1234abcd.so.13 cudart.c \
	-Wl,--version-script="$here/cudart.map" "${driver[@]}" -Wl,-rpath,'$ORIGIN/../../driver'
library libcupti.so.13 site/nvidia/cu13/lib/libcupti.so.13 cupti.c "${driver[@]}" -Wl,-rpath,'$ORIGIN/../../../../driver' -pthread
library libnccl.so.2 site/nvidia/nccl/lib/libnccl.so.2 nccl.c "${driver[@]}" -Wl,-rpath,'$ORIGIN/../../../../driver'
library libc10_cuda.so site/torch/lib/libc10_cuda.so c10.c -pthread \
	-L"$dir/site/nvidia/cu13/lib" -l:libcudart.so.13 -Wl,-rpath-link,"$dir/driver" \
	-Wl,--enable-new-dtags -Wl,-rpath,'$ORIGIN/../../nvidia/cu13/lib'
echo "$key" >"$dir/.built"
