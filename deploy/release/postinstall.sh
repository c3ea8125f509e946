#!/bin/sh
# The service is there, but not begun: what it can read is for the host's owner to decide.
#   systemctl enable --now pmtrace
set -e
if [ -d /run/systemd/system ]; then systemctl daemon-reload; fi
