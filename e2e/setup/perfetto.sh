#!/usr/bin/env bash
# perfetto.sh: Perfetto's descriptors of traces, in the venv $PMTRACE_CACHE/perfetto; prints its Python.
# Its trace processor is a binary that PyPI does not have.
. "$(dirname "$0")/lib.sh"
PACKAGES=(perfetto==0.59.1 protobuf==7.36.2)

venv=$PMTRACE_CACHE/perfetto
only_one perfetto
if ! stamped perfetto "${PACKAGES[*]}" || ! "$venv/bin/python" -c 'from perfetto.protos.perfetto.trace import perfetto_trace_pb2' 2>/dev/null; then
	need_uv
	say "${PACKAGES[*]}"
	rm -rf "$venv"
	"$UV" venv -q --python "$(python_for 10 14)" "$venv"
	"$UV" pip install -q --python "$venv/bin/python" "${PACKAGES[@]}"
	"$venv/bin/python" -c 'from perfetto.protos.perfetto.trace import perfetto_trace_pb2'
	stamp perfetto "${PACKAGES[*]}"
fi
echo "$venv/bin/python"
