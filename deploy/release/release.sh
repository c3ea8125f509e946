#!/usr/bin/env bash
# release.sh VERSION DIRECTORY: what a release consists of, the same bytes wherever it is made:
# a tarball, a .deb, a .rpm, an SBOM, SHA256SUMS, and where RELEASE_KEY names a key of gpg,
# SHA256SUMS.asc. Needs go on the PATH, gcc, and the tools of e2e/setup/release.sh.
set -euo pipefail

version=${1:?which version? release.sh vX.Y.Z DIRECTORY}
out=$(mkdir -p "${2:?where to?}" && cd "$2" && pwd)
cd "$(dirname "$0")/../.."
die() { echo "release: $*" >&2; exit 1; }
[[ $version =~ ^v[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$ ]] || die "$version is no version: want vMAJOR.MINOR.PATCH[-PRERELEASE]"
[ -z "$(git status --porcelain)" ] || die "the tree has changes that are not committed"
! grep -qE '^(replace|exclude)\b' go.mod || die "go.mod replaces or excludes modules: go install would refuse it"
go mod tidy -diff >/dev/null || die "go.mod is not tidy"
go mod verify >/dev/null

SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH LC_ALL=C TZ=UTC GOFLAGS=-buildvcs=true
umask 022
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
name=pmtrace_${version#v}_linux_amd64
stage=$work/$name
mkdir -p "$stage"/bin "$stage"/share/{man/man1,completions,doc} "$stage"/systemd

make build RELEASE="$version"
mv pmtrace "$stage/bin/pmtrace"
pmtrace=$stage/bin/pmtrace
"$pmtrace" man "$work/man"
gzip -9n "$work"/man/*.1
mv "$work"/man/*.gz "$stage/share/man/man1/"
"$pmtrace" completion bash >"$stage/share/completions/pmtrace.bash"
"$pmtrace" completion zsh >"$stage/share/completions/_pmtrace"
"$pmtrace" completion fish >"$stage/share/completions/pmtrace.fish"
cp deploy/systemd/pmtrace.service deploy/systemd/pmtrace.env "$stage/systemd/"
cp LICENSE README.md CHANGELOG.md "$stage/share/doc/"
cp -r docs deploy/kubernetes "$stage/share/doc/"

# The licences of what is linked in want to be with it.
go list -deps -f '{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}} {{.Dir}}{{end}}{{end}}' ./cmd/pmtrace | sort -u |
	while read -r module _ dir; do
		found=
		for f in "$dir"/LICEN[SC]E* "$dir"/COPYING* "$dir"/NOTICE*; do
			[ -f "$f" ] || continue
			mkdir -p "$stage/share/doc/licenses/$module"
			install -m 0644 "$f" "$stage/share/doc/licenses/$module/"
			found=1
		done
		[ -n "$found" ] || die "no licence with $module"
	done
install -D -m 0644 "$(go env GOROOT)/LICENSE" "$stage/share/doc/licenses/go/LICENSE"

find "$stage" -exec touch -hd "@$SOURCE_DATE_EPOCH" {} +
tar -C "$work" --sort=name --owner=0 --group=0 --numeric-owner --format=gnu --mtime="@$SOURCE_DATE_EPOCH" -c "$name" | gzip -9n >"$out/$name.tar.gz"

# The newest symbol of glibc that the binary asks for. A prerelease sorts before its release.
glibc=$(readelf -V "$pmtrace" | grep -oE 'GLIBC_[0-9.]+' | sort -uV | tail -1)
package=$(sed 's/^v//; s/-/~/; s/-/./g' <<<"$version")
sed -e "s|\${STAGE}|$stage|g; s|\${SCRIPTS}|$PWD/deploy/release|g; s|\${GLIBC}|${glibc#GLIBC_}|g; s|\${PACKAGE_VERSION}|$package|g" \
	deploy/release/nfpm.yaml >"$work/nfpm.yaml"
nfpm package -f "$work/nfpm.yaml" -p deb -t "$out/pmtrace_${package}_amd64.deb" >/dev/null
nfpm package -f "$work/nfpm.yaml" -p rpm -t "$out/pmtrace-$package-1.x86_64.rpm" >/dev/null

# Of the binary, that is of what is really in it.
cyclonedx-gomod bin -json -noserial -notimestamp -std -version "$version" -output "$out/$name.cdx.json" "$pmtrace" 2>"$work/sbom.log" ||
	die "no SBOM: $(tail -1 "$work/sbom.log")"

cd "$out"
sha256sum "$name.tar.gz" "pmtrace_${package}_amd64.deb" "pmtrace-$package-1.x86_64.rpm" "$name.cdx.json" >SHA256SUMS
rm -f SHA256SUMS.asc
if [ -n "${RELEASE_KEY-}" ]; then
	gpg --batch --yes --local-user "$RELEASE_KEY" --armor --detach-sign --output SHA256SUMS.asc SHA256SUMS
fi
ls -l
