#!/usr/bin/env bash
# browser.sh: a headless Chromium (apt) and Playwright to drive it, in the venv $PMTRACE_CACHE/browser; prints its Python.
. "$(dirname "$0")/lib.sh"
has chromium chromium fonts-dejavu-core >&2
venv browser 'import playwright.sync_api' playwright==1.56.0
