"""functions.py VLLM_PARENT: the functions of a vLLM source tree that the rows of phases.go are
about, one "file:qualname" a line: in the modules of a row, those with the last name of one of its
names (so that a class that was renamed shows). Of a pattern (*.name) three will do.

VLLM_PARENT is the folder that has vllm/: an unpacked wheel, or a site-packages.
"""

import ast
import fnmatch
import os
import re
import sys

PHASES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "phases.go")
SAMPLES = 3


def rows():
    """(module pattern, names) of each row of phases.go."""
    with open(PHASES, encoding="utf8") as f:
        text = f.read()
    consts = dict(re.findall(r'^\s(\w+)\s+= "([^"]+)"', text, re.M))
    for module, names in re.findall(r'^\s\{([\w.*"]+), \[\]string\{(.*?)\}', text, re.M | re.S):
        yield consts.get(module, module.strip('"')), re.findall(r'"([^"]+)"', names)


def functions(node, prefix=""):
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield prefix + child.name
            yield from functions(child, prefix + child.name + ".<locals>.")
        elif isinstance(child, ast.ClassDef):
            yield from functions(child, prefix + child.name + ".")
        else:
            yield from functions(child, prefix)


def sources(parent):
    for folder, _, files in sorted(os.walk(os.path.join(parent, "vllm"))):
        for name in sorted(files):
            if name.endswith(".py"):
                path = os.path.relpath(os.path.join(folder, name), parent)
                yield path, path[:-3].removesuffix("/__init__").replace("/", ".")


def main(parent):
    out, table = set(), list(rows())
    samples = {}
    for path, module in sources(parent):
        wanted = [(i, n) for i, (m, names) in enumerate(table) if fnmatch.fnmatchcase(module, m) for n in names]
        if not wanted:
            continue
        with open(os.path.join(parent, path), encoding="utf8") as f:
            found = list(functions(ast.parse(f.read())))
        for row, name in wanted:
            for q in found:
                if q.rsplit(".", 1)[-1] != name.rsplit(".", 1)[-1]:
                    continue
                if name.startswith("*."):
                    samples[row, name] = samples.get((row, name), 0) + 1
                    if samples[row, name] > SAMPLES:
                        continue
                out.add(f"{path}:{q}")
    sys.stdout.writelines(line + "\n" for line in sorted(out))


main(sys.argv[1])
