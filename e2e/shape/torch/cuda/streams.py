import threading
from ctypes import byref, c_void_p

from torch import _C

BLOCKING_SYNC, DISABLE_TIMING, NON_BLOCKING = 1, 2, 1


class Event:
    """blocking: who waits for it sleeps; else spins."""

    def __init__(self, blocking=False):
        self.flags = DISABLE_TIMING | (BLOCKING_SYNC if blocking else 0)
        self.cuda_event = None

    def record(self, stream=None):
        if self.cuda_event is None:
            event = c_void_p()
            _C.event_create(byref(event), self.flags)
            self.cuda_event = event.value
        _C.event_record(self.cuda_event, (stream or current_stream()).cuda_stream, 0)

    def synchronize(self):
        if self.cuda_event is not None:
            _C.event_sync(self.cuda_event)

    def query(self):
        return self.cuda_event is None or _C.event_query.raw(self.cuda_event) == 0

    def __del__(self):
        if self.cuda_event is not None:
            _C.event_destroy(self.cuda_event)


class Stream:
    def __init__(self, cuda_stream=None):
        if cuda_stream is None:
            handle = c_void_p()
            _C.stream_create(byref(handle), NON_BLOCKING)
            cuda_stream = handle.value
        self.cuda_stream = cuda_stream

    def wait_stream(self, other):
        event = Event()
        event.record(other)
        _C.stream_wait(self.cuda_stream, event.cuda_event, 0)


class _Current(threading.local):
    stream = Stream(0)


_current = _Current()


def current_stream():
    return _current.stream


class stream:
    def __init__(self, stream):
        self.stream = stream

    def __enter__(self):
        self.before, _current.stream = _current.stream, self.stream

    def __exit__(self, *_):
        _current.stream = self.before
