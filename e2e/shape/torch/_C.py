"""The libraries, and the types that torch has in C++.

libcudart is loaded as torch does it, as a library that libc10_cuda.so needs. With
--cudart static there is none: torch has it inside, and only libcuda's exported
functions are called."""
import ctypes
import os
from ctypes import (POINTER, Structure, addressof, byref, c_bool, c_char, c_double, c_int, c_size_t, c_uint, c_uint64,
                    c_ulonglong, c_void_p)

STUB = os.environ["SHAPE_STUB"]
STATIC = os.environ.get("SHAPE_CUDART") == "static"

cuda = ctypes.CDLL(os.path.join(STUB, "driver", "libcuda.so.1"))
stub = cuda
if STATIC:
    cudart = c10 = None
else:
    c10 = ctypes.CDLL(os.path.join(STUB, "site", "torch", "lib", "libc10_cuda.so"))
    cudart = ctypes.CDLL("libcudart.so.13")  # the one that is there already
    ctypes.CDLL(os.path.join(STUB, "site", "torchvision.libs", "libcudart.1234abcd.so.13"))

stub.stub_next.argtypes = [c_uint64]
stub.stub_graph.argtypes = [c_void_p]
stub.stub_routing_kernel.restype = c_void_p


class Dim3(Structure):
    _fields_ = [("x", c_uint), ("y", c_uint), ("z", c_uint)]


class LaunchConfig(Structure):
    """CUlaunchConfig"""

    _fields_ = [("grid", c_uint * 3), ("block", c_uint * 3), ("shared", c_uint), ("stream", c_void_p),
                ("attrs", c_void_p), ("num_attrs", c_uint)]


class CudaLaunchConfig(Structure):
    """cudaLaunchConfig_t"""

    _fields_ = [("grid", Dim3), ("block", Dim3), ("shared", c_size_t), ("stream", c_void_p), ("attrs", c_void_p),
                ("num_attrs", c_uint)]


class _CUDAGraph(Structure):
    """Like pybind11's objects, a ctypes structure has at object + 16 a pointer to
    the C memory that it stands for: here at::cuda::CUDAGraph, in which torch 2.11
    keeps the graph and then the exec. SHAPE_EXEC_OFFSET puts them elsewhere."""

    _fields_ = [("before", c_char * (int(os.environ.get("SHAPE_EXEC_OFFSET", "8")) - 8)),
                ("graph_", c_void_p), ("graph_exec_", c_void_p), ("capture_id_", c_ulonglong),
                ("mempool_id_", c_ulonglong * 2), ("capture_dev_", c_int), ("after", c_char * 160)]


def _function(dynamic, static, *argtypes):
    """A function of libcudart, or what that calls in libcuda."""
    f = getattr(cuda, static) if STATIC else getattr(cudart, dynamic)
    f.argtypes = argtypes

    def call(*args):
        error = f(*args)
        if error:
            raise RuntimeError(f"CUDA error {error} in {dynamic}")

    call.raw = f
    return call


stream_create = _function("cudaStreamCreateWithFlags", "cuStreamCreate", POINTER(c_void_p), c_uint)
stream_wait = _function("cudaStreamWaitEvent", "cuStreamWaitEvent", c_void_p, c_void_p, c_uint)
stream_sync = _function("cudaStreamSynchronize", "cuStreamSynchronize", c_void_p)
device_sync = _function("cudaDeviceSynchronize", "cuCtxSynchronize")
event_create = _function("cudaEventCreateWithFlags", "cuEventCreate", POINTER(c_void_p), c_uint)
event_record = _function("cudaEventRecordWithFlags", "cuEventRecordWithFlags", c_void_p, c_void_p, c_uint)
event_record_old = _function("cudaEventRecord", "cuEventRecord", c_void_p, c_void_p)
event_sync = _function("cudaEventSynchronize", "cuEventSynchronize", c_void_p)
event_query = _function("cudaEventQuery", "cuEventQuery", c_void_p)
event_destroy = _function("cudaEventDestroy", "cuEventDestroy_v2", c_void_p)
capture_begin = _function("cudaStreamBeginCapture", "cuStreamBeginCapture_v2", c_void_p, c_int)
capture_end = _function("cudaStreamEndCapture", "cuStreamEndCapture", c_void_p, POINTER(c_void_p))
graph_instantiate = _function("cudaGraphInstantiate", "cuGraphInstantiateWithFlags", POINTER(c_void_p), c_void_p,
                              c_ulonglong)
graph_launch = _function("cudaGraphLaunch", "cuGraphLaunch", c_void_p, c_void_p)
graph_exec_destroy = _function("cudaGraphExecDestroy", "cuGraphExecDestroy", c_void_p)
graph_destroy = _function("cudaGraphDestroy", "cuGraphDestroy", c_void_p)
cuda.cuLaunchKernel.argtypes = [c_void_p] + [c_uint] * 7 + [c_void_p] * 3
cuda.cuLaunchKernelEx.argtypes = [POINTER(LaunchConfig)] + [c_void_p] * 3
cuda.cuMemAlloc_v2.argtypes = [POINTER(c_void_p), c_size_t]
if STATIC:
    cuda.cuMemcpyHtoDAsync_v2.argtypes = [c_void_p, c_void_p, c_size_t, c_void_p]
    cuda.cuMemcpyDtoHAsync_v2.argtypes = [c_void_p, c_void_p, c_size_t, c_void_p]
else:
    cudart.cudaLaunchKernel.argtypes = [c_void_p, Dim3, Dim3, c_void_p, c_size_t, c_void_p]
    cudart.cudaLaunchKernelExC.argtypes = [POINTER(CudaLaunchConfig), c_void_p, c_void_p]
    cudart.cudaMemcpyAsync.argtypes = [c_void_p, c_void_p, c_size_t, c_int, c_void_p]
    cudart.cudaMalloc.argtypes = [POINTER(c_void_p), c_size_t]
    c10.c10_replay_on_thread.argtypes = [c_void_p, c_void_p, c_int]

GRID, BLOCK = Dim3(8, 2, 1), Dim3(128, 1, 1)


def launch_torch(ns, stream):
    """A kernel of torch's or vLLM's own: through libcudart."""
    stub.stub_next(ns)
    if STATIC:
        cuda.cuLaunchKernel(0x1000, 8, 2, 1, 128, 1, 1, 0, stream, None, None)
    else:
        cudart.cudaLaunchKernel(0x1000, GRID, BLOCK, None, 0, stream)


def launch_cublas(ns, stream):
    """cuBLAS has a libcudart of its own inside."""
    stub.stub_next(ns)
    cuda.cuLaunchKernel(0x2000, 132, 1, 1, 256, 1, 1, 0, stream, None, None)


def launch_triton(ns, stream):
    stub.stub_next(ns)
    cuda.cuLaunchKernelEx(byref(LaunchConfig((16, 1, 1), (128, 1, 1), 0, stream)), 0x3000, None, None)


class TopkGating:
    """vLLM's kernel in which the tokens of a layer choose their experts, and what that
    writes: every other layer by cudaLaunchKernelExC and with wide ids. For the logits
    stands the layer's number."""

    def __init__(self, layer, rows, top_k, experts):
        self.extended = layer % 2
        self.kernel = stub.stub_routing_kernel(self.extended)
        self.input, self.ids, self.weights = malloc(4), malloc(8 * rows * top_k), malloc(4 * rows * top_k)
        c_uint.from_address(self.input).value = layer
        self.rows = c_uint(0)
        # input, finished, weights, rows, ids, source_rows, k, start_expert, end_expert, renormalize, bias, scale, …
        self.values = [c_void_p(self.input), c_void_p(), c_void_p(self.weights), self.rows, c_void_p(self.ids),
                       c_void_p(), c_int(top_k), c_int(0), c_int(experts), c_bool(True), c_void_p(), c_double(1),
                       c_void_p()]
        self.arguments = (c_void_p * len(self.values))(*map(addressof, self.values))

    def launch(self, rows, ns, stream):
        self.rows.value = rows
        stub.stub_next(ns)
        if STATIC:
            cuda.cuLaunchKernel(self.kernel, rows, 1, 1, 32, 4, 1, 0, stream, self.arguments, None)
        elif self.extended:
            config = CudaLaunchConfig(Dim3(rows, 1, 1), Dim3(32, 4, 1), 0, stream)
            cudart.cudaLaunchKernelExC(byref(config), self.kernel, self.arguments)
        else:
            cudart.cudaLaunchKernel(self.kernel, Dim3(rows, 1, 1), Dim3(32, 4, 1), self.arguments, 0, stream)


def copy(nbytes, to_device, stream):
    if not STATIC:
        cudart.cudaMemcpyAsync(0x7f0000000000, 0x10000, nbytes, 1 if to_device else 2, stream)
    elif to_device:
        cuda.cuMemcpyHtoDAsync_v2(0x7f0000000000, 0x10000, nbytes, stream)
    else:
        cuda.cuMemcpyDtoHAsync_v2(0x10000, 0x7f0000000000, nbytes, stream)


def malloc(nbytes):
    address = c_void_p()
    (cuda.cuMemAlloc_v2 if STATIC else cudart.cudaMalloc)(byref(address), nbytes)
    return address.value
