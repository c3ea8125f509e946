#!/usr/bin/env python3
"""A closed-loop load: C clients, each sends its next request when its last one ended.

Writes one JSON object a line and request: what was asked, what the server answered, and when
(CLOCK_MONOTONIC seconds, the clock of pmtrace's tables). Prints a summary as JSON.
Runs in the vLLM environment (needs aiohttp). The plan is drawn from --seed alone, so that two
runs ask the same; what the server samples is not (vLLM's CPU engine dies of a per-request seed).

Fields: n, client_id (sent as X-Request-Id), response_id, external_id (the engine's request id
without its random suffix), kind (length, eos, abort, pooling), stream, prefix (-1: none), prompt_tokens,
max_tokens, completion_tokens, cached_tokens, finish_reason, t_send, t_first, t_last, status, error; and
w_last, which is t_last by the wall clock: UNIX time.
For an aborted request the server's word is missing: completion_tokens is what arrived before
the client hung up, and finish_reason is "abort". On SIGINT it sends no new request.
"""

import argparse
import asyncio
import json
import random
import signal
import sys
import time

import aiohttp

FIRST_TOKEN = 300  # below are <s>, </s> and the bytes


def span(text):
    """"64" or "16:256" (both ends included)."""
    low, _, high = text.partition(":")
    return int(low), int(high or low)


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--url", default="http://127.0.0.1:8000")
    p.add_argument("--model", default="tiny")
    p.add_argument("--vocab", type=int, default=2048)
    p.add_argument("--out", default="-", help="JSON lines file")
    p.add_argument("-c", "--concurrency", type=int, default=8)
    p.add_argument("-n", "--requests", type=int, default=64)
    p.add_argument("--seconds", type=float, default=0, help="send no new request after this time")
    p.add_argument("-i", "--prompt-tokens", type=span, default=(16, 256), metavar="N|LOW:HIGH", help="without the shared prefix")
    p.add_argument("-o", "--output-tokens", type=span, default=(8, 128), metavar="N|LOW:HIGH")
    p.add_argument("--prefix-fraction", type=float, default=0, help="of requests that begin with a shared prefix")
    p.add_argument("--prefix-tokens", type=int, default=256)
    p.add_argument("--prefixes", type=int, default=4, help="how many different ones")
    p.add_argument("--stream-fraction", type=float, default=0.5)
    p.add_argument("--eos-fraction", type=float, default=0, help="of requests that may end by the end-of-sequence token")
    p.add_argument("--abort-fraction", type=float, default=0, help="of requests whose client hangs up half-way")
    p.add_argument("--priorities", type=int, default=0, help="how many different priorities (0: none is sent)")
    p.add_argument("--other-model", help="every other request is to this one (a LoRA adapter)")
    p.add_argument("--pause", type=float, default=0, help="seconds that a client thinks before its next request, on average")
    p.add_argument("--embeddings", action="store_true", help="ask a pooling model, of each prompt")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--id-prefix", default="load", help="of the X-Request-Ids")
    return p.parse_args(argv)


def plan(a):
    rng = random.Random(a.seed)

    def tokens(n):
        return [rng.randrange(FIRST_TOKEN, a.vocab) for _ in range(n)]

    prefixes = [tokens(a.prefix_tokens) for _ in range(a.prefixes)]
    out = []
    for n in range(a.requests):
        prefix = rng.randrange(a.prefixes) if rng.random() < a.prefix_fraction else -1
        draw = rng.random()
        kind = "pooling" if a.embeddings else "abort" if draw < a.abort_fraction else "eos" if draw < a.abort_fraction + a.eos_fraction else "length"
        max_tokens = rng.randint(*a.output_tokens)
        out.append({
            "n": n,
            "client_id": f"{a.id_prefix}-{a.seed}-{n}",
            "kind": kind,
            "stream": not a.embeddings and (rng.random() < a.stream_fraction or kind == "abort"),
            "prefix": prefix,
            "prompt": (prefixes[prefix] if prefix >= 0 else []) + tokens(rng.randint(*a.prompt_tokens)),
            "max_tokens": max_tokens,
            "hang_up_after": rng.randint(1, max(1, max_tokens // 2)),
            "pause": rng.expovariate(1 / a.pause) if a.pause else 0,
        })
    return out


def body(a, r):
    model = a.other_model if a.other_model and r["n"] % 2 else a.model
    if a.embeddings:
        return {"model": model, "input": r["prompt"]}
    b = {"model": model, "prompt": r["prompt"], "max_tokens": r["max_tokens"], "stream": r["stream"]}
    if r["kind"] == "eos":  # about every 30th token
        b.update(temperature=1.0, logit_bias={"1": 4.2})
    else:
        b.update(temperature=0.0, ignore_eos=True)
    if a.priorities:
        b["priority"] = r["n"] % a.priorities
    if r["stream"]:
        b["stream_options"] = {"include_usage": True, "continuous_usage_stats": True}
    return b


def note_usage(res, usage):
    res["prompt_tokens"] = usage["prompt_tokens"]
    res["completion_tokens"] = usage.get("completion_tokens", 0)
    details = usage.get("prompt_tokens_details")
    if details:
        res["cached_tokens"] = details.get("cached_tokens")


async def events(response):
    """Yields the JSON objects of a server-sent event stream."""
    async for line in response.content:
        if line.startswith(b"data: {"):
            yield json.loads(line[6:])


async def ask(session, a, r):
    res = {k: r[k] for k in ("n", "client_id", "kind", "stream", "prefix", "max_tokens")}
    res.update(prompt_tokens=len(r["prompt"]), response_id=None, external_id=None, completion_tokens=0, cached_tokens=None,
               finish_reason=None, t_first=None, t_last=None, w_last=None, status=None, error=None, t_send=time.monotonic())
    try:
        async with session.post(a.url + ("/v1/embeddings" if a.embeddings else "/v1/completions"), json=body(a, r), headers={"X-Request-Id": r["client_id"]}) as resp:
            res["status"] = resp.status
            if resp.status != 200:
                res["error"] = (await resp.text())[:500]
            elif r["stream"]:
                async for e in events(resp):
                    now = time.monotonic()
                    if "error" in e:
                        res["error"] = json.dumps(e["error"])[:500]
                        break
                    res["response_id"] = e["id"]
                    if e.get("choices"):
                        res["t_first"] = res["t_first"] or now
                        res["t_last"], res["w_last"] = now, time.time()
                        res["finish_reason"] = e["choices"][0]["finish_reason"] or res["finish_reason"]
                    if e.get("usage"):  # with each chunk: a slow client gets several tokens in one
                        note_usage(res, e["usage"])
                    if r["kind"] == "abort" and not res["finish_reason"] and res["completion_tokens"] >= r["hang_up_after"]:
                        res["finish_reason"] = "abort"
                        resp.close()
                        break
            else:
                e = await resp.json()
                res["t_last"], res["w_last"] = time.monotonic(), time.time()
                res["response_id"] = e["id"]
                # An embedding has no reason; the engine's word for its end is the one for a stop.
                res["finish_reason"] = "stop" if a.embeddings else e["choices"][0]["finish_reason"]
                note_usage(res, e["usage"])
    except (aiohttp.ClientError, asyncio.TimeoutError, ValueError) as e:
        res["error"] = repr(e)
    if res["response_id"]:
        res["external_id"] = res["response_id"] + "-0"  # the first (only) prompt of the call
    return res


async def run(a):
    todo = iter(plan(a))
    results = []
    began = time.monotonic()
    out = sys.stdout if a.out == "-" else open(a.out, "w")
    timeout = aiohttp.ClientTimeout(total=600)
    enough = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, enough.set)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=True), timeout=timeout) as session:

        async def client():
            for r in todo:
                if enough.is_set() or a.seconds and time.monotonic() - began > a.seconds:
                    return
                res = await ask(session, a, r)
                results.append(res)
                out.write(json.dumps(res) + "\n")
                await asyncio.sleep(r["pause"])

        await asyncio.gather(*(client() for _ in range(a.concurrency)))
    out.flush()
    return results, time.monotonic() - began


def count(values):
    return {str(v): values.count(v) for v in sorted(set(values), key=str)}


def main():
    a = parse(sys.argv[1:])
    results, seconds = asyncio.run(run(a))
    errors = [r for r in results if r["error"]]
    print(json.dumps({
        "requests": len(results),
        "errors": len(errors),
        "first_error": errors[0]["error"] if errors else None,
        "seconds": round(seconds, 3),
        "prompt_tokens": sum(r["prompt_tokens"] for r in results),
        "completion_tokens": sum(r["completion_tokens"] for r in results),
        "cached_tokens": sum(r["cached_tokens"] or 0 for r in results),
        "tokens_per_s": round(sum(r["completion_tokens"] for r in results) / seconds, 1),
        "finish_reasons": count([r["finish_reason"] for r in results]),
    }), file=sys.stderr if a.out == "-" else sys.stdout)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
