#!/usr/bin/env bash
# analysis.sh: the readers that tables are tested with, in the venv $PMTRACE_CACHE/analysis; prints its Python.
. "$(dirname "$0")/lib.sh"
venv analysis 'import duckdb, pandas, pyarrow' duckdb==1.4.4 pandas==2.3.3 pyarrow==22.0.0
