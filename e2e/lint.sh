#!/usr/bin/env bash
# lint.sh quick|go|vulnerabilities: what `make lint` runs. quick needs no tool that has to be built.
set -euo pipefail
cd "$(dirname "$0")/.."
case $1 in
quick)
	unformatted=$(git ls-files -co --exclude-standard -z -- '*.go' | xargs -0 gofmt -l)
	[ -z "$unformatted" ] || { echo "not gofmt'ed: $unformatted" >&2; exit 1; }
	go vet ./...
	go vet -tags e2e ./e2e/...
	git ls-files -co --exclude-standard -z -- '*.c' '*.h' | xargs -0r clang-format --dry-run -Werror
	if command -v shellcheck >/dev/null; then
		git ls-files -co --exclude-standard -z -- '*.sh' .ci/run | xargs -0 shellcheck -x -P SCRIPTDIR -e SC1091
	else
		echo "no shellcheck here: shell scripts not checked" >&2
	fi
	git ls-files -co --exclude-standard -z -- '*.py' | xargs -0r python3 -c '
import ast, sys
for path in sys.argv[1:]:
    ast.parse(open(path, encoding="utf-8").read(), path)'
	;;
go)
	golangci-lint run --timeout 10m ./...
	;;
vulnerabilities)
	if out=$(govulncheck ./... 2>&1); then
		echo "$out" | tail -3
	elif grep -qE 'vuln\.go\.dev|fetching vulnerabilities|no such host|connection refused|403|404|proxyconnect' <<<"$out" && ! grep -q '^Vulnerability #' <<<"$out"; then
		echo "the vulnerability database cannot be reached from here: not checked"
		echo "$out" | tail -2
	else
		echo "$out" >&2
		exit 1
	fi
	;;
esac
