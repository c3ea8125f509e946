#!/usr/bin/env bash
# docs.sh: what the examples of the documentation are run with, in the venv $PMTRACE_CACHE/docs; prints its Python.
. "$(dirname "$0")/lib.sh"
venv docs 'import duckdb, pandas, matplotlib' duckdb==1.4.4 duckdb-cli==1.4.4 pandas==2.3.3 pyarrow==22.0.0 matplotlib==3.11.2
