#!/bin/sh
# deb: "remove"; rpm: 0. An upgrade leaves the service running.
set -e
if [ -d /run/systemd/system ] && { [ "$1" = remove ] || [ "$1" = 0 ]; }; then
	systemctl disable --now pmtrace.service || true
fi
