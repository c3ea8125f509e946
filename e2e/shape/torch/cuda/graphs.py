from ctypes import byref, c_void_p

from torch import _C
from torch.cuda.streams import Stream, current_stream, stream

CAPTURE_ERROR_MODE_GLOBAL = 0


class CUDAGraph(_C._CUDAGraph):
    def capture_begin(self):
        _C.capture_begin(current_stream().cuda_stream, CAPTURE_ERROR_MODE_GLOBAL)

    def capture_end(self):
        handle = c_void_p()
        _C.capture_end(current_stream().cuda_stream, byref(handle))
        self.graph_ = handle.value
        _C.graph_instantiate(byref(handle), self.graph_, 1)
        self.graph_exec_ = handle.value
        _C.graph_destroy(self.graph_)  # torch keeps the exec alone, and leaves the pointer as it is

    def replay(self):
        _C.graph_launch(self.graph_exec_, current_stream().cuda_stream)

    def reset(self):
        if self.graph_exec_:
            _C.graph_exec_destroy(self.graph_exec_)
            self.graph_exec_ = None

    def __del__(self):
        self.reset()


class graph:
    default_capture_stream = None

    def __init__(self, cuda_graph, stream=None):
        if graph.default_capture_stream is None:
            graph.default_capture_stream = Stream()
        self.cuda_graph = cuda_graph
        self.capture_stream = stream or graph.default_capture_stream

    def __enter__(self):
        _C.device_sync()
        self.stream_ctx = stream(self.capture_stream)
        self.stream_ctx.__enter__()
        self.cuda_graph.capture_begin()

    def __exit__(self, *args):
        self.cuda_graph.capture_end()
        self.stream_ctx.__exit__(*args)
