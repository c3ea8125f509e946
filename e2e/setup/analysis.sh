#!/usr/bin/env bash
# analysis.sh: the readers that tables are tested with, in the venv $PMTRACE_CACHE/analysis; prints its Python.
. "$(dirname "$0")/lib.sh"
PACKAGES=(duckdb==1.4.4 pandas==2.3.3 pyarrow==22.0.0)

venv=$PMTRACE_CACHE/analysis
only_one analysis
if ! stamped analysis "${PACKAGES[*]}" || ! "$venv/bin/python" -c 'import duckdb, pandas, pyarrow' 2>/dev/null; then
	need_uv
	say "${PACKAGES[*]}"
	rm -rf "$venv"
	"$UV" venv -q --python "$(python_for 10 14)" "$venv"
	"$UV" pip install -q --python "$venv/bin/python" "${PACKAGES[@]}"
	"$venv/bin/python" -c 'import duckdb, pandas, pyarrow'
	stamp analysis "${PACKAGES[*]}"
fi
echo "$venv/bin/python"
