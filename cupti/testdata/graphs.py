"""graphs.py LIBCUDART REPLAYS: captures a graph of 64 copies within the GPU, replays it with a CUDA event on either side,
and prints the times between the events in ns. It needs no CUDA but the one named: that is the test."""
import ctypes
import json
import os
import sys

rt = ctypes.CDLL(sys.argv[1], mode=ctypes.RTLD_GLOBAL)
MIB = 1 << 20


def call(name, *args):
    code = getattr(rt, name)(*args)
    if code:
        sys.exit(f"{name}: error {code}")


def made(name, *args):
    p = ctypes.c_void_p()
    call(name, ctypes.byref(p), *args)
    return p


print(os.getpid(), flush=True)
sys.stdin.readline()
a, b = (made("cudaMalloc", ctypes.c_size_t(256 * MIB)) for _ in range(2))
stream, before, after, graph, done = made("cudaStreamCreate"), made("cudaEventCreate"), made("cudaEventCreate"), ctypes.c_void_p(), []
call("cudaStreamBeginCapture", stream, 0)
call("cudaMemsetAsync", b, 0, ctypes.c_size_t(MIB), stream)  # a kernel: CUDA 12's CUPTI tells nothing of graphs of copies alone
for _ in range(64):
    call("cudaMemcpyAsync", b, a, ctypes.c_size_t(256 * MIB), 3, stream)
call("cudaStreamEndCapture", stream, ctypes.byref(graph))
replay = made("cudaGraphInstantiate", graph, ctypes.c_ulonglong(0))
for _ in range(int(sys.argv[2])):
    ms = ctypes.c_float()
    call("cudaEventRecord", before, stream)
    call("cudaGraphLaunch", replay, stream)
    call("cudaEventRecord", after, stream)
    call("cudaEventSynchronize", after)
    call("cudaEventElapsedTime", ctypes.byref(ms), before, after)
    done.append(round(ms.value * 1e6))
print(json.dumps(done), flush=True)
sys.stdin.readline()
