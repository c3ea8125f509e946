#!/usr/bin/env bash
# check-generated.sh: runs `make generate` and fails when that changes, adds or removes any file that
# git does not ignore. Works in a tree with changes of your own: it compares before and after.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
snapshot() {
	git ls-files -co --exclude-standard -z -- '*.go' '*.o' '*.h' '*.c' '*.json' '*.md' |
		sort -zu | xargs -0 sha256sum 2>/dev/null | sort -k2
}
snapshot >"$work/before" || true
"${MAKE:-make}" --no-print-directory generate
snapshot >"$work/after" || true
if ! changed=$(diff <(sort "$work/before") <(sort "$work/after")); then
	echo "generated files are not what the sources make (commit what 'make generate' leaves):" >&2
	sed -n 's/^[<>] [0-9a-f]*  //p' <<<"$changed" | sort -u >&2
	exit 1
fi
