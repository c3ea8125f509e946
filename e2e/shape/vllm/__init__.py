"""A program of vLLM's shape: the modules, classes, attributes and call chains
that pmtrace reads, with a scheduler of its own behind them and no model. It
stands in for vLLM where the real one cannot be had: on CPythons that have no
torch, and at step rates that no CPU model reaches. The truth is what it writes
down itself (see shape.py)."""
