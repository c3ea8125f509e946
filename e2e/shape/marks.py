"""What the program says of itself to the stub's GPU: which step a thread works
for, and what it does for it. The numbers are those of enum pm_phase."""
import threading

from torch import _C

(NONE, OTHER, EXECUTE, PREPARE, ENCODER, FORWARD, CROSS_ATTENTION, LOGITS, SAMPLE, DRAFT, OUTPUT_COPY, OUTPUT_WAIT,
 POSTPROCESS, SYNC_RANKS, CAPTURE, DUMMY) = range(16)


class _Thread(threading.local):
    step = -1
    phase = OTHER


_thread = _Thread()


class phase:
    """A with block of a phase, and of a step where one is given. What a dummy run
    or a capture does is of that, and of no finer phase."""

    def __init__(self, phase, step=None):
        self.phase, self.step = phase, step

    def __enter__(self):
        self.before = _thread.step, _thread.phase
        if self.step is not None:
            _thread.step = self.step
        if _thread.phase not in (CAPTURE, DUMMY):
            _thread.phase = self.phase
        _C.stub.stub_mark(_thread.step, _thread.phase)

    def __exit__(self, *_):
        _thread.step, _thread.phase = self.before
        _C.stub.stub_mark(_thread.step, _thread.phase)
