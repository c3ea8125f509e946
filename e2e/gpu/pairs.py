#!/usr/bin/env python3
"""pairs.py PID PORT SECONDS ARMS: what pmtrace costs a server on a GPU, by stretches in random order.

PID is the API server's or the recording pmtrace's, ARMS are rounds, each a list of configurations: "off,all" or
"off,all;off,all,lean,sched" (in turn). A name given by --peer puts the load on another server instead, such as one that
is recorded; nothing is attached to it. Another tool than pmtrace is a name given by --tool, whose command runs for the
stretch, or by --around, whose command runs before it and again after it; {pid} in them is the engine's process, {port} the
server's and {start} start, then stop. Each stretch is a closed load of its own; one JSON object a stretch goes to
standard output: ms per output token, tokens/s, of the engine's main thread CPU time in µs and waits a step. Needs root, pmtrace
(--pmtrace) and aiohttp; the server serves the model as "m". See h200_calls.json for how the figures are kept.
"""
import argparse
import asyncio
import json
import os
import random
import signal
import subprocess
import tempfile
import time
import urllib.request

CUDA = "forward_pass,cuda_graph,cpu,encoder_decoder,gpu"
ARMS = {
    "off": None,
    "batch": ["--profilers", "batch"],
    "sched": ["--no-profilers", CUDA],
    "lean": ["--no-profilers", "cpu,encoder_decoder,gpu"],
    "all": [],
    "cpus": ["--breakpoints", "cpus"],
    "nogpu": ["--no-profilers", "gpu"],
    "windows": ["--gpu-sampling", "windows"],
    "20us": ["--gpu-sampling", "20us"],
}


def within(pid, ancestor):
    while pid > 1 and pid != ancestor:
        with open(f"/proc/{pid}/stat") as f:
            pid = int(f.read().rpartition(")")[2].split()[1])
    return pid == ancestor


def engine(server):
    for p in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{p}/comm") as f:
                if f.read().startswith("VLLM::EngineC") and within(int(p), server):
                    return int(p)
        except OSError:
            pass
    raise SystemExit(f"pairs: no engine below process {server}")


async def one(session, a, port, rng, done):
    body = {"model": "m", "prompt": [rng.randrange(300, 30000) for _ in range(a.prompt)], "max_tokens": a.output,
            "temperature": 0.0, "ignore_eos": True, "stream": True}
    first = last = None
    async with session.post(f"http://127.0.0.1:{port}/v1/completions", json=body) as r:
        async for line in r.content:
            if line.startswith(b"data: {"):
                last = time.perf_counter()
                first = first or last
    done.append((first, last))


async def load(a, port):
    import aiohttp

    rng, done, began = random.Random(), [], time.perf_counter()

    async def client(session):
        while time.perf_counter() < began + a.stretch:
            await one(session, a, port, rng, done)

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(*[client(session) for _ in range(a.concurrency)])
    span = max(last for _, last in done) - began
    return {"tpot": round(sum(last - first for first, last in done) / len(done) / (a.output - 1) * 1e3, 4),
            "tok_s": round(len(done) * a.output / span, 1)}


def steps(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as r:
        for line in r.read().decode().splitlines():
            if line.startswith("vllm:iteration_tokens_total_count"):
                return float(line.split()[-1])
    raise SystemExit("pairs: no count of steps in /metrics")


def cpu(pid):
    with open(f"/proc/{pid}/task/{pid}/schedstat") as f:
        return int(f.read().split()[0])


def waits(pid):
    """How often the thread has gone to sleep: each time its debug registers are cleared, and then loaded again."""
    with open(f"/proc/{pid}/task/{pid}/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("voluntary_ctxt_switches"))


def around(command, pid, port, word):
    subprocess.run(command.format(pid=pid, port=port, start=word), shell=True, check=True, stdout=subprocess.DEVNULL)


def stretch(a, arm, pid, out):
    tracer, port = None, a.port
    log = open(os.path.join(out, "log"), "w+")
    if arm in a.peers:
        group, port = a.peers[arm]
        pid = engine(group)
    elif arm in a.tools:
        tracer = subprocess.Popen(["sh", "-c", "exec " + a.tools[arm].format(pid=pid, port=port, start="start")], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    elif arm in a.arounds:
        around(a.arounds[arm], pid, port, "start")
    elif ARMS[arm] is not None:
        tracer = subprocess.Popen([a.pmtrace, "attach", "--pid", str(a.pid), "--output-dir", out, "--no-csv", "--log-interval", "0", *ARMS[arm]],
                                  stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        for _ in range(200):
            log.seek(0)
            if "writing to" in log.read():
                break
            time.sleep(0.05)
    time.sleep(a.settle if tracer or arm in a.arounds else min(a.settle, 0.3))
    s, c, w = steps(port), cpu(pid), waits(pid)
    r = asyncio.run(load(a, port))
    n = max(1, steps(port) - s)
    r.update(steps=n, cpu_us=round((cpu(pid) - c) / 1e3 / n, 2), waits=round((waits(pid) - w) / n, 2), config=arm, rc=0)
    if tracer:
        tracer.send_signal(signal.SIGINT)
        r["rc"] = tracer.wait(60)
    if arm in a.arounds:
        around(a.arounds[arm], pid, port, "stop")
    return r


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("pid", type=int)
    p.add_argument("port", type=int)
    p.add_argument("seconds", type=float)
    p.add_argument("arms")
    p.add_argument("--peer", action="append", default=[], help="NAME=PID:PORT of another server")
    p.add_argument("--tool", action="append", default=[], help="NAME=COMMAND")
    p.add_argument("--around", action="append", default=[], help="NAME=COMMAND")
    p.add_argument("--pmtrace", default="./pmtrace")
    p.add_argument("--concurrency", type=int, default=32)
    p.add_argument("--prompt", type=int, default=64)
    p.add_argument("--output", type=int, default=128)
    p.add_argument("--stretch", type=float, default=2)
    p.add_argument("--settle", type=float, default=2, help="seconds between attaching and the load")
    a = p.parse_args()
    a.peers = {name: tuple(map(int, at.split(":"))) for name, at in (x.split("=") for x in a.peer)}
    a.tools, a.arounds = (dict(x.split("=", 1) for x in given) for given in (a.tool, a.around))
    rounds, pid, end = a.arms.split(";"), engine(a.pid), time.monotonic() + a.seconds
    with tempfile.TemporaryDirectory() as out:
        stretch(a, "off", pid, out)
        n = 0
        while time.monotonic() < end:
            arms = rounds[n % len(rounds)].split(",")
            random.shuffle(arms)
            for arm in arms:
                print(json.dumps({"round": n, **stretch(a, arm, pid, out)}), flush=True)
            n += 1


if __name__ == "__main__":
    main()
