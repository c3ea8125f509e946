"""vLLM's calls of NCCL, by ctypes as vLLM makes them."""
import ctypes
import os
from ctypes import Structure, byref, c_byte, c_int, c_size_t, c_void_p

from torch import _C
from torch.cuda.streams import current_stream

BFLOAT16, SUM = 9, 0


class ncclUniqueId(Structure):
    _fields_ = [("internal", c_byte * 128)]


class PyNcclCommunicator:
    def __init__(self, world_size, rank, barrier):
        self.barrier = barrier
        self.world_size, self.rank = world_size, rank
        self.nccl = ctypes.CDLL(os.path.join(_C.STUB, "site", "nvidia", "nccl", "lib", "libnccl.so.2"))
        self.nccl.ncclCommInitRank.argtypes = [ctypes.POINTER(c_void_p), c_int, ncclUniqueId, c_int]
        self.nccl.ncclAllReduce.argtypes = [c_void_p, c_void_p, c_size_t, c_int, c_int, c_void_p, c_void_p]
        self.nccl.ncclAllGather.argtypes = [c_void_p, c_void_p, c_size_t, c_int, c_void_p, c_void_p]
        unique_id = ncclUniqueId()
        self.nccl.ncclGetUniqueId(byref(unique_id))
        comm = c_void_p()
        self.nccl.ncclCommInitRank(byref(comm), world_size, unique_id, rank)
        self.comm = comm.value

    def met(self):
        """Returns when all ranks have launched. On real GPUs no rank gets beyond its
        first collective before; the stub's collectives do not wait."""
        self.barrier.wait(60)

    def all_reduce(self, count):
        self.nccl.ncclAllReduce(0x7f0000000000, 0x7f0000000000, count, BFLOAT16, SUM, self.comm,
                                current_stream().cuda_stream)

    def all_gather(self, count):
        self.nccl.ncclAllGather(0x7f0000000000, 0x7f0000001000, count, BFLOAT16, self.comm,
                                current_stream().cuda_stream)
