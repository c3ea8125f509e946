#!/usr/bin/env bash
# step.sh HEADLINE COMMAND…: runs one step of the Makefile under a headline, and says how long it took.
echo "=== $1"
shift
began=$(date +%s%N)
"$@"
rc=$?
took=$((($(date +%s%N) - began) / 100000000))
[ $rc = 0 ] && word=ok || word="FAILED (exit $rc)"
echo "--- $word, $((took / 10)).$((took % 10)) s"
exit $rc
