#!/usr/bin/env bash
# model.sh [VERSION]: the tiny model in $PMTRACE_CACHE/models/tiny, made with the Python of that vLLM's venv.
. "$(dirname "$0")/lib.sh"
key=$(sha256sum <"$SETUP/model.py")
model=$PMTRACE_CACHE/models/tiny
only_one model
if ! stamped model "$key" || [ ! -f "$model/config.json" ]; then
	"$PMTRACE_CACHE/vllm-${1:-0.32.0}/bin/python" "$SETUP/model.py" "$model"
	stamp model "$key"
fi
echo "$model"
