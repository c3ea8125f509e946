"""A program that calls functions in all the ways that there are, and counts itself.

It prints its id, waits for a line, runs, and prints what it did as JSON.
"""
import collections
import ctypes
import json
import os
import sys
import time


class Slotted:
    __slots__ = ("n", "items")

    def __init__(self, n):
        self.n = n
        self.items = [0] * n


class Plain:
    def __init__(self, n):
        self.n = n
        self.text = "x" * n
        self.part = Slotted(n)
        self.queue = Queue([0] * n)


class Wide:
    """Has more attributes than inline values hold, and so a dict of its own."""

    def __init__(self, n):
        for i in range(60):
            setattr(self, f"attribute_{i}", i)
        self.n = n


class Queue(collections.deque):
    pass


truth = {"calls": {}, "args": {}, "durations": {}}


def count(name, args=None, duration=None):
    truth["calls"][name] = truth["calls"].get(name, 0) + 1
    if args is not None:
        truth["args"].setdefault(name, []).append(args)
    if duration is not None:
        truth["durations"].setdefault(name, []).append(duration)


class Worker:
    def __init__(self):
        self.running = []
        self.done = set()
        self.total = 0.5

    def add(self, item, flag=False, *, limit=None):
        self.running.append(item)
        return len(self.running)

    def fail(self, n):
        raise ValueError(n)

    def nest(self, n):
        return self.nest(n - 1) + 1 if n else 0

    def nest_or_fail(self, n):
        if n == 0:
            raise ValueError(n)
        return self.nest_or_fail(n - 1)

    def loop(self, n):
        while n:
            n -= 1
        return n

    def wait(self, seconds):
        time.sleep(seconds)
        return seconds

    def many(self, n):
        if n == 0:
            return 1
        if n == 1:
            return 2
        if n == 2:
            return 3
        if n == 3:
            return 4
        return 5

    def closed(self, item):
        return [lambda: item][0]()

    def ints(self, n):
        return n

    def hot(self, n):
        return n

    def cold(self, n):
        return n


def generate(n):
    yield from range(n)


def function(item):
    return item


def work(rounds):
    w = Worker()
    for i in range(rounds):
        item = [Plain, Wide, Slotted][i % 3](i % 50)
        flag = i % 2 == 0
        # What is captured of an object of each kind, in the order of the test's list.
        plain = isinstance(item, Plain)
        count("add", [item.n, None if not plain else len(item.text), None if not plain else item.part.n,
                      None if not plain else len(item.part.items), None if not plain else len(item.queue),
                      len(w.running), flag, None if i % 5 else i - 7])
        w.add(item, flag, limit=None if i % 5 else i - 7)
        if len(w.running) > 40:
            w.running.clear()
        try:
            count("fail")
            w.fail(i)
        except ValueError:
            pass
        depth = i % 5
        for _ in range(depth + 1):
            count("nest")
            count("nest_or_fail")
        w.nest(depth)
        try:
            w.nest_or_fail(depth)
        except ValueError:
            pass
        count("loop", [i % 100])
        w.loop(i % 100)
        count("many")
        w.many(i % 6)
        count("closed", [item.n])
        w.closed(item)
        big = (-1) ** i * (1 << (i % 70))
        count("ints", [big if abs(big) < 1 << 63 else None, None if i % 3 else i / 7])
        w.ints(big if i % 3 else big)
        count("function", [i / 7])
        function(i / 7)
        for _ in generate(3):
            pass
        count("generate")
    for i in range(20):
        seconds = 0.001 * (i % 7 + 1)
        began = time.monotonic_ns()
        w.wait(seconds)
        count("wait", duration=time.monotonic_ns() - began)
    for i in range(12):
        count("cold", [i])
        w.cold(i)


def chill():
    """Calls with pauses."""
    w = Worker()
    for i in range(12):
        time.sleep(0.002)
        count("cold", [i])
        w.cold(i)


def heat(seconds):
    """Calls as fast as it can."""
    w = Worker()
    beat("hot", seconds, w.hot)


def beat(name, seconds, function):
    n = 0
    end = time.monotonic() + seconds
    began = time.thread_time()
    while time.monotonic() < end:
        for i in range(100):
            function(i)
        n += 100
    truth["calls"][name] = n
    truth["seconds"] = time.thread_time() - began  # of this thread's CPU time


def heat_library(path, seconds):
    """The same with a C function."""
    frob = ctypes.CDLL(path).frob
    beat("frob", seconds, frob)


def library(path, rounds):
    """Calls a C library from two threads."""
    import threading
    lib = ctypes.CDLL(path)
    lib.frob.argtypes = [ctypes.c_long, ctypes.c_uint, ctypes.c_void_p, ctypes.c_int]
    lib.frob.restype = ctypes.c_long
    lib.frobs_until_now.restype = ctypes.c_ulong

    def run(sign):
        for i in range(rounds):
            lib.frob(sign * i, i & 0xFFFFFFFF, 4096, -i)

    threads = [threading.Thread(target=run, args=(s,)) for s in (1, -1)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    truth["calls"]["frob"] = lib.frobs_until_now()


def main():
    if "library" in sys.argv[1]:
        ctypes.CDLL(sys.argv[2])  # mapped before the tracer looks
    if sys.argv[1] == "warm":
        for i in range(int(sys.argv[2])):
            Worker().cold(i)
    print(os.getpid(), flush=True)
    sys.stdin.readline()
    {"work": lambda: work(int(sys.argv[2])), "heat": lambda: heat(float(sys.argv[2])),
     "warm": chill, "heat_library": lambda: heat_library(sys.argv[2], float(sys.argv[3])),
     "library": lambda: library(sys.argv[2], int(sys.argv[3]))}[sys.argv[1]]()
    print(json.dumps(truth), flush=True)
    sys.stdin.readline()


main()
