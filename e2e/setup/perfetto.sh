#!/usr/bin/env bash
# perfetto.sh: Perfetto's descriptors of traces, in the venv $PMTRACE_CACHE/perfetto; prints its Python.
# Its trace processor is a binary that PyPI does not have.
. "$(dirname "$0")/lib.sh"
venv perfetto 'from perfetto.protos.perfetto.trace import perfetto_trace_pb2' perfetto==0.59.1 protobuf==7.36.2
