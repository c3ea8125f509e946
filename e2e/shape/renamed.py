"""Runs shape.py with other names: as a version of vLLM that nobody has seen.

    python renamed.py OLD=NEW[,…] [arguments of shape.py]
"""
import importlib.machinery
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
NAMES = dict(pair.split("=") for pair in sys.argv[1].split(","))


def source(path):
    with open(path) as f:
        text = f.read()
    for old, new in NAMES.items():
        text = re.sub(rf"\b{old}\b", new, text)
    return compile(text, path, "exec", dont_inherit=True)


class Loader(importlib.machinery.SourceFileLoader):
    def get_code(self, fullname):
        return source(self.path)


if __name__ == "__main__":
    ours = importlib.machinery.FileFinder.path_hook((Loader, [".py"]))

    def hook(path):
        if not path.startswith(HERE):
            raise ImportError("not ours")
        return ours(path)

    sys.path_hooks.insert(0, hook)
    sys.path_importer_cache.clear()
    shape = os.path.join(HERE, "shape.py")
    sys.argv = [shape] + sys.argv[2:]
    exec(source(shape), {"__name__": "__main__", "__file__": shape})
