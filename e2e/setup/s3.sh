#!/usr/bin/env bash
# s3.sh: versitygw, a server that speaks S3 on a directory, pinned, in $PMTRACE_CACHE/bin; prints it.
. "$(dirname "$0")/lib.sh"
VERSITYGW=v1.8.0

only_one s3
key="$VERSITYGW $(go env GOVERSION)"
if ! stamped versitygw "$key" || [ ! -x "$PMTRACE_CACHE/bin/versitygw" ]; then
	say "versitygw $VERSITYGW (built once, a minute)"
	(cd / && GOFLAGS='' GOBIN=$PMTRACE_CACHE/bin CGO_ENABLED=0 go install "github.com/versity/versitygw/cmd/versitygw@$VERSITYGW")
	stamp versitygw "$key"
fi
echo "$PMTRACE_CACHE/bin/versitygw"
