#!/usr/bin/env bash
# ptx.sh NVCC: makes c/choices_ptx.h of cuda/choices.cu with NVIDIA's compiler (13.0; nothing else here needs it). The PTX
# asks for the oldest version that has what it uses, so that older drivers take it.
set -euo pipefail
cd "$(dirname "$0")"
out=$(mktemp)
trap 'rm -f "$out"' EXIT
"${1:-nvcc}" -ptx -O3 -arch=compute_75 -o "$out" cuda/choices.cu
{
	echo '/* Made by ptx.sh from cuda/choices.cu. */'
	echo '/* clang-format off */'
	echo "/* sources $(cat cuda/choices.cu c/choices.h ptx.sh | sha256sum | cut -d' ' -f1) */"
	echo 'static const char choices_ptx[] ='
	sed -e '/^\/\//d' -e '/^$/d' -e 's/^\.version .*/.version 6.4/' -e 's/\\/\\\\/g; s/"/\\"/g; s/\t/\\t/g; s/.*/\t"&\\n"/' "$out"
	echo '	"";'
} >c/choices_ptx.h
