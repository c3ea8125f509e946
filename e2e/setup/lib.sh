# shellcheck shell=bash
# What every setup script shares: the cache, root, apt, a Python, uv, stamps.

set -euo pipefail

export PMTRACE_CACHE=${PMTRACE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/pmtrace}
export UV_CACHE_DIR=$PMTRACE_CACHE/uv UV_PYTHON_DOWNLOADS=never UV_NO_PROGRESS=1
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2034 # for those who source this
SETUP=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p "$PMTRACE_CACHE/bin" "$PMTRACE_CACHE/stamp"

say() { echo "setup: $*" >&2; }
die() { say "$*"; exit 1; }

# as_root COMMAND…: runs it as root, by sudo where that is needed.
as_root() {
	if [ "$(id -u)" = 0 ]; then "$@"
	elif command -v sudo >/dev/null; then sudo -n "$@" || sudo "$@"
	else die "needs root for: $*"; fi
}

# apt PACKAGE…: installs what is missing; fails where the machine has no apt.
apt() {
	local missing=() p
	for p in "$@"; do
		dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null | grep -qx installed || missing+=("$p")
	done
	[ ${#missing[@]} = 0 ] && return
	command -v apt-get >/dev/null || die "no apt-get here: please install ${missing[*]}"
	say "apt: ${missing[*]}"
	as_root apt-get -qq -o Acquire::Retries=3 install -y --no-install-recommends "${missing[@]}" >/dev/null 2>&1 && return
	as_root apt-get -qq update >/dev/null
	as_root apt-get -qq -o Acquire::Retries=3 install -y --no-install-recommends "${missing[@]}" >/dev/null
}

# has PROGRAM PACKAGE…: installs the packages when the program is missing.
has() { local c=$1; shift; command -v "$c" >/dev/null || apt "$@"; }

# stamped NAME KEY: true when NAME was finished for this very KEY (versions, checksums of the inputs).
stamped() { [ "$(cat "$PMTRACE_CACHE/stamp/$1" 2>/dev/null)" = "$2" ]; }
stamp() { printf '%s\n' "$2" >"$PMTRACE_CACHE/stamp/$1"; }

# only_one NAME: one setup of a kind at a time; the others wait.
only_one() { exec 9>"$PMTRACE_CACHE/stamp/$1.lock"; flock 9; }

# python_for MIN MAX: prints a CPython 3.MIN … 3.MAX that can make a venv; installs one where there is none.
python_for() {
	local min=$1 max=$2 p v
	_fits() {
		v=$("$1" -c 'import sys, venv, ensurepip; print(sys.version_info[1] if sys.implementation.name == "cpython" else 0)' 2>/dev/null) &&
			[ "$v" -ge "$min" ] && [ "$v" -le "$max" ]
	}
	for p in python3 /usr/bin/python3 $(seq -f 'python3.%g' "$min" "$max"); do
		if _fits "$p"; then "$p" -c 'import sys; print(sys.executable)'; return; fi
	done
	apt python3 python3-venv >&2
	_fits /usr/bin/python3 && { echo /usr/bin/python3; return; }
	for v in $(seq "$min" "$max"); do # Ubuntu 22.04: 3.10 is the default, 3.11 is in universe
		(apt "python3.$v" "python3.$v-venv") >&2 2>/dev/null || continue
		_fits "/usr/bin/python3.$v" && { echo "/usr/bin/python3.$v"; return; }
	done
	die "found no Python 3.$min to 3.$max and could not install one"
}

# python_of 3.X: prints a CPython of that minor version: one on the PATH, of uv or of pyenv, else the one of
# cpythons.sh, which runs only with PYTHONHOME and LD_LIBRARY_PATH set.
python_of() {
	local p
	for p in "$(command -v "python$1" || true)" "$("${UV:-uv}" python find --no-project "$1" 2>/dev/null || true)" \
		"${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$1".*/bin/python3; do
		[ -x "$p" ] || continue
		p=$("$p" -c 'import sys, ssl, sqlite3, ctypes, lzma; print(sys.executable if "%d.%d" % sys.version_info[:2] == sys.argv[1] and sys.implementation.name == "cpython" else "")' "$1" 2>/dev/null) || continue
		[ -n "$p" ] && { echo "$p"; return; }
	done
	p=$PMTRACE_CACHE/cpython/$1/bin/python$1
	[ -x "$p" ] || "$SETUP/cpythons.sh" "$1" >/dev/null 9>&-
	[ -x "$p" ] || return 1
	echo "$p"
}

UV_VERSION=0.9.18

# need_uv: sets $UV. The machine's own if there is one (any version will do), else one from PyPI.
need_uv() {
	if UV=$(command -v uv) && "$UV" --version >/dev/null 2>&1; then return; fi
	UV=$PMTRACE_CACHE/uv-venv/bin/uv
	"$UV" --version >/dev/null 2>&1 && return
	say "uv $UV_VERSION from PyPI"
	rm -rf "$PMTRACE_CACHE/uv-venv"
	"$(python_for 8 99)" -m venv "$PMTRACE_CACHE/uv-venv"
	"$PMTRACE_CACHE/uv-venv/bin/pip" -q install "uv==$UV_VERSION"
}

# venv NAME STATEMENT PACKAGE…: a venv of the packages, $PMTRACE_CACHE/NAME, in which the statement runs; prints its Python.
venv() {
	local name=$1 statement=$2 dir=$PMTRACE_CACHE/$1
	shift 2
	only_one "$name"
	if ! stamped "$name" "$*" || ! "$dir/bin/python" -c "$statement" 2>/dev/null; then
		need_uv
		say "$*"
		rm -rf "$dir"
		"$UV" venv -q --python "$(python_for 10 14)" "$dir"
		"$UV" pip install -q --python "$dir/bin/python" "$@"
		"$dir/bin/python" -c "$statement"
		stamp "$name" "$*"
	fi
	echo "$dir/bin/python"
}

# go_tool NAME PACKAGE VERSION: a program in Go, pinned, in $PMTRACE_CACHE/bin. Needs go on the PATH.
go_tool() {
	local bin=$PMTRACE_CACHE/bin key
	key="$3 $(go env GOVERSION)"
	stamped "$1" "$key" && [ -x "$bin/$1" ] && return
	say "$1 $3 (built once, a minute or more)"
	(cd / && GOFLAGS='' GOBIN=$bin CGO_ENABLED=0 go install "$2@$3")
	stamp "$1" "$key"
}
