#!/usr/bin/env bash
# profilers.sh: other people's profilers that pmtrace is compared with, in the venv $PMTRACE_CACHE/profilers; prints its Python.
. "$(dirname "$0")/lib.sh"
venv profilers 'import shutil, sys; assert shutil.which(sys.prefix + "/bin/py-spy")' py-spy==0.4.3
