#!/usr/bin/env bash
# s3.sh: versitygw, a server that speaks S3 on a directory, pinned, in $PMTRACE_CACHE/bin; prints it.
# Needs go on the PATH.
. "$(dirname "$0")/lib.sh"
VERSITYGW=v1.8.0

only_one s3
go_tool versitygw github.com/versity/versitygw/cmd/versitygw $VERSITYGW
echo "$PMTRACE_CACHE/bin/versitygw"
