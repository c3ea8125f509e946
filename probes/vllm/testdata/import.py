"""import.py MODULE…: imports them, answers {"imported": [those that could be], "failed": {module: why}}, waits."""

import importlib
import json
import sys

answer = {"imported": [], "failed": {}}
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
        answer["imported"].append(name)
    except Exception as e:  # a package that this build lacks
        answer["failed"][name] = repr(e)[:200]
print("\n" + json.dumps(answer), flush=True)
sys.stdin.readline()
