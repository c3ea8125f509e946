"""run.py: runs the Python examples of the documentation, a JSON list of {where, code} on stdin, each in
its directory and with names of its own; prints a JSON list of {out, error}."""
import contextlib
import io
import json
import os
import sys
import traceback

os.environ["MPLBACKEND"] = "Agg"
told = []
for example in json.load(sys.stdin):
    os.chdir(example["where"])
    out, error = io.StringIO(), ""
    try:
        with contextlib.redirect_stdout(out):
            exec(compile(example["code"], "example", "exec"), {"__name__": "__main__"})
    except Exception:
        error = traceback.format_exc()
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
    told.append({"out": out.getvalue(), "error": error})
json.dump(told, sys.stdout)
