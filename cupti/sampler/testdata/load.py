"""A load whose truth is known: replays of a CUDA graph that only copies memory.

Prints "ready" when the graph stands; each line on stdin is then a number of
replays to make, one every 2 ms, and is answered with a line of JSON: for each
replay the CLOCK_MONOTONIC ns before its launch and after its completion and its
duration by CUDA events, and the bytes that a replay reads and writes.
"""
import json
import sys
import time

import torch

COPIES, BYTES = 12, 128 << 20
source = [torch.ones(BYTES, dtype=torch.uint8, device="cuda") for _ in range(2)]
target = [torch.empty_like(s) for s in source]


def copy():
    for i in range(COPIES):
        # Compute kernels: the copy engines would not show as SM activity.
        torch.add(source[i % 2], 1, out=target[i % 2])


side = torch.cuda.Stream()
with torch.cuda.stream(side):
    copy()
torch.cuda.synchronize()
graph = torch.cuda.CUDAGraph()
with torch.cuda.graph(graph):
    copy()
for _ in range(20):
    graph.replay()
torch.cuda.synchronize()
begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
print("ready", flush=True)

for line in sys.stdin:
    replays = []
    time.sleep(0.1)
    due = time.monotonic()
    for _ in range(int(line)):
        due += 0.002
        while time.monotonic() < due:
            pass
        launched = time.monotonic_ns()
        begin.record()
        graph.replay()
        end.record()
        torch.cuda.synchronize()
        done = time.monotonic_ns()
        replays.append([launched, done, round(begin.elapsed_time(end) * 1e6)])
    time.sleep(0.1)
    print(json.dumps({"replays": replays, "bytes": COPIES * BYTES}), flush=True)
