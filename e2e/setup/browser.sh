#!/usr/bin/env bash
# browser.sh: Playwright in the venv $PMTRACE_CACHE/browser, and a Chromium for it; prints its Python and the browser.
# Exits with 3 where no headless browser can be had.
. "$(dirname "$0")/lib.sh"

# browser: prints one that runs.
browser() {
	local b
	for b in chromium chromium-browser google-chrome; do
		b=$(command -v $b) && "$b" --version >/dev/null 2>&1 && { echo "$b"; return; }
	done
	find "$PMTRACE_CACHE/browsers" -type f \( -name headless_shell -o -name chrome-headless-shell \) -perm -u+x 2>/dev/null | grep -m 1 .
}

python=$(venv browser 'import playwright.sync_api' playwright==1.56.0)
# Ubuntu's package is a snap, which a container cannot run: then Playwright's own.
browser >/dev/null || (apt chromium fonts-dejavu-core) >&2 || true
browser >/dev/null ||
	PLAYWRIGHT_BROWSERS_PATH=$PMTRACE_CACHE/browsers "$python" -m playwright install --with-deps --only-shell chromium >&2 || true
found=$(browser) || { say "no headless browser can be had here: chromium is neither in apt nor to be downloaded by Playwright"; exit 3; }
printf '%s\n%s\n' "$python" "$found"
