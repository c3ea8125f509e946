#!/usr/bin/env python3
"""toggle.py PID PORT SECONDS ARMS: what pmtrace costs, within one batch in flight.

32 long streams run; pmtrace is attached and detached again and again (ARMS: all,lean,… in random order), and the rate of
tokens with it is compared with that right before and after: the batch is the same, so that what requests happen to run
together is no noise. One JSON object a comparison goes to standard output. Arguments and requirements: pairs.py.
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

import pairs


class Load:
    def __init__(self, a):
        self.a, self.tokens, self.batches, self.over = a, [], [], False

    async def stream(self, session, rng, batch):
        body = {"model": "m", "prompt": [rng.randrange(300, 30000) for _ in range(64)], "max_tokens": self.a.output,
                "temperature": 0.0, "ignore_eos": True, "stream": True}
        async with session.post(f"http://127.0.0.1:{self.a.port}/v1/completions", json=body) as r:
            first = True
            async for chunk, _ in r.content.iter_chunks():
                now = time.perf_counter()
                self.tokens.append((now, chunk.count(b"data: {")))
                if first:
                    first, batch[0] = False, max(batch[0], now)
        batch[1] = min(batch[1], time.perf_counter())

    async def run(self):
        import aiohttp

        rng = random.Random()
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=600)) as session:
            while not self.over:
                batch = [0.0, float("inf")]  # all streams run from here to there
                self.batches.append(batch)
                await asyncio.gather(*[self.stream(session, rng, batch) for _ in range(self.a.concurrency)])

    def rate(self, since, until):
        """Tokens/s of a time within one batch; None: it is not."""
        if not any(b[0] and b[0] + 0.5 < since and until < b[1] for b in self.batches):
            return None
        return sum(n for t, n in self.tokens if since <= t < until) / (until - since)


async def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("pid", type=int)
    p.add_argument("port", type=int)
    p.add_argument("seconds", type=float)
    p.add_argument("arms")
    p.add_argument("--pmtrace", default="./pmtrace")
    p.add_argument("--concurrency", type=int, default=32)
    p.add_argument("--output", type=int, default=3900)
    p.add_argument("--stretch", type=float, default=1.2)
    a = p.parse_args()
    load, pid, arms, rows = Load(a), pairs.engine(a.pid), a.arms.split(","), []
    task = asyncio.create_task(load.run())
    await asyncio.sleep(2)
    end = time.monotonic() + a.seconds

    async def stretch():
        since, c = time.perf_counter(), pairs.cpu(pid)
        await asyncio.sleep(a.stretch)
        until = time.perf_counter()
        return since, until, (pairs.cpu(pid) - c) / 1e3

    with tempfile.TemporaryDirectory() as out:
        before, order = await stretch(), []
        while time.monotonic() < end:
            if not order:
                order = random.sample(arms, len(arms))
            arm = order.pop()
            log = open(os.path.join(out, "log"), "w+")
            tracer = subprocess.Popen([a.pmtrace, "attach", "--pid", str(a.pid), "--output-dir", out, "--no-csv", "--log-interval", "0", *pairs.ARMS[arm]],
                                      stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            for _ in range(100):
                log.seek(0)
                if "writing to" in log.read():
                    break
                await asyncio.sleep(0.05)
            await asyncio.sleep(0.7)
            on = await stretch()
            tracer.send_signal(signal.SIGINT)
            while tracer.poll() is None:
                await asyncio.sleep(0.02)
            await asyncio.sleep(0.2)
            after = await stretch()
            rows.append((arm, tracer.returncode, before, on, after))
            before = after
    load.over = True
    task.cancel()
    for arm, code, before, on, after in rows:
        b, o, n = (load.rate(x[0], x[1]) for x in (before, on, after))
        if b and o and n:
            steps = a.concurrency
            print(json.dumps({"config": arm, "rc": code, "slower": round((b + n) / 2 / o, 5),
                              "step_us": round(1e6 * steps / ((b + n) / 2), 1), "cpu_us": round(on[2] / (o * a.stretch / steps), 1),
                              "cpu_off_us": round((before[2] / (b * a.stretch / steps) + after[2] / (n * a.stretch / steps)) / 2, 1)}))


if __name__ == "__main__":
    asyncio.run(main())
