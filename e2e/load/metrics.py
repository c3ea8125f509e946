#!/usr/bin/env python3
"""The server's own counters. Any Python 3.8 or later, no packages.

metrics.py scrape URL > before.json     every vllm: sample now, as {"name{labels}": value}
metrics.py delta URL before.json        what was added since, summed over model and engine
metrics.py diff before.json after.json  the same for two scrapes

Labels that only say which model or engine are dropped; the others stay: request_success_total
keeps finished_reason, a histogram's buckets keep le. Gauges are given as they are after.
"""

import json
import re
import sys
import time
import urllib.request

SAMPLE = re.compile(r"^(vllm:[a-zA-Z0-9_:]+)(?:\{(.*)\})? (\S+)$")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
DROPPED = {"engine", "model_name"}


def parse(text):
    kinds, samples = {}, {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ", 3)
            kinds[name] = kind
            continue
        m = SAMPLE.match(line)
        if not m or m[1].endswith("_created"):
            continue
        labels = ",".join(f"{k}={v}" for k, v in sorted(LABEL.findall(m[2] or "")) if k not in DROPPED)
        key = f"{m[1]}{{{labels}}}" if labels else m[1]
        samples[key] = samples.get(key, 0.0) + float(m[3])
    gauges = sorted({k for k in samples if kinds.get(k.partition("{")[0]) == "gauge"})
    return {"monotonic": time.monotonic(), "gauges": gauges, "samples": samples}


def scrape(url):
    with urllib.request.urlopen(url.rstrip("/") + "/metrics", timeout=30) as r:
        return parse(r.read().decode())


def diff(before, after):
    gauges = set(after["gauges"])
    out = {"seconds": round(after["monotonic"] - before["monotonic"], 6)}
    for key, value in sorted(after["samples"].items()):
        out[key] = value if key in gauges else round(value - before["samples"].get(key, 0.0), 9)
    return out


def load(path):
    with open(path) as f:
        return json.load(f)


def main(argv):
    if len(argv) == 2 and argv[0] == "scrape":
        result = scrape(argv[1])
    elif len(argv) == 3 and argv[0] == "delta":
        result = diff(load(argv[2]), scrape(argv[1]))
    elif len(argv) == 3 and argv[0] == "diff":
        result = diff(load(argv[1]), load(argv[2]))
    else:
        print(__doc__, file=sys.stderr)
        return 2
    json.dump(result, sys.stdout, indent=1)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
