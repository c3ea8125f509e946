#!/usr/bin/env bash
# release.sh: a release of HEAD is the same bytes wherever it is made, its packages are whole, its
# signature holds, and go install makes the program of the module. Needs what `make release` needs, dpkg and gpg.
set -euo pipefail
cd "$(dirname "$0")/.."
fail() { echo "FAIL: $*" >&2; exit 1; }
version=v0.99.0-test.1
work=$(mktemp -d /tmp/pmtrace-release.XXXXXX)
export GNUPGHOME=$work/gnupg
trap 'gpgconf --kill all 2>/dev/null || true; chmod -R u+w "$work"; rm -rf "$work"' EXIT
install -d -m 0700 "$GNUPGHOME"

echo "a release, signed by a throwaway key, and another elsewhere, without what was built before"
gpg --batch --quiet --passphrase '' --quick-generate-key throwaway ed25519 sign 1d 2>/dev/null
git clone -q . "$work/a"
git clone -q . "$work/a longer place"
RELEASE_KEY=throwaway "$work/a/deploy/release/release.sh" $version "$work/one" >/dev/null
(umask 077; TZ=Asia/Tokyo LC_ALL=C.UTF-8 GOCACHE=$work/cache "$work/a longer place/deploy/release/release.sh" $version "$work/two" >/dev/null)
cmp "$work/one/SHA256SUMS" "$work/two/SHA256SUMS" || { diff "$work/one/SHA256SUMS" "$work/two/SHA256SUMS"; fail "two releases of a commit differ"; }
[ "$(find "$work/two" -type f | wc -l)" = 5 ] || fail "there are other files than five"
[ ! -e "$work/two/SHA256SUMS.asc" ] || fail "a signature that nobody asked for"

echo "checksums and signature"
(cd "$work/one" && sha256sum --quiet -c SHA256SUMS)
gpg --batch --quiet --verify "$work/one/SHA256SUMS.asc" "$work/one/SHA256SUMS" 2>/dev/null || fail "the signature does not hold"
echo >>"$work/one/SHA256SUMS"
! gpg --batch --quiet --verify "$work/one/SHA256SUMS.asc" "$work/one/SHA256SUMS" 2>/dev/null || fail "the signature holds of anything"

echo "the tarball"
tar -C "$work" -xzf "$work"/one/*.tar.gz
tree=$work/pmtrace_0.99.0-test.1_linux_amd64
says=$("$tree/bin/pmtrace" version)
[[ $says == "pmtrace $version (commit $(git -C "$work/a" rev-parse --short=12 HEAD), "* ]] || fail "pmtrace says: $says"
! grep -aqF "$work" "$tree/bin/pmtrace" || fail "the binary names the place where it was built"
for command in $("$tree/bin/pmtrace" --help | sed -n '/^Available/,/^$/s/^  \([a-z]*\) .*/\1/p' | grep -vxE 'help|completion'); do
	[ -s "$tree/share/man/man1/pmtrace-$command.1.gz" ] || fail "no page of the manual for $command"
done
bash -c ". '$tree/share/completions/pmtrace.bash' && complete -p pmtrace" >/dev/null || fail "no completion in bash"
for completion in _pmtrace pmtrace.fish; do [ -s "$tree/share/completions/$completion" ] || fail "no $completion"; done
sed -nE 's/.*\]\(([a-z0-9-]+\.md)[)#].*/\1/p' "$tree/share/doc/docs/README.md" | while read -r page; do
	[ -s "$tree/share/doc/docs/$page" ] || fail "no guide $page"
done
python3 - "$work"/one/*.cdx.json "$tree/bin/pmtrace" $version <<'PY'
import json, subprocess, sys
bom, binary, version = json.load(open(sys.argv[1])), sys.argv[2], sys.argv[3]
lines = [l.split() for l in subprocess.check_output(["go", "version", "-m", binary], text=True).splitlines()]
linked = {(l[1], l[2]) for l in lines if l and l[0] == "dep"}
listed = {(c["name"], c["version"]) for c in bom["components"]} - {c for c in {(c["name"], c["version"]) for c in bom["components"]} if c[0] == "std"}
assert bom["bomFormat"] == "CycloneDX" and bom["metadata"]["component"]["version"] == version
assert linked == listed and len(linked) > 20, linked ^ listed
print(f"  SBOM: {len(listed)} modules, as the binary has them")
PY

echo "the package for Debian, in a root of its own"
root=$work/root
mkdir -p "$root/var/lib/dpkg/info" "$root/var/lib/dpkg/updates" "$root/bin"
: >"$root/var/lib/dpkg/status"
deb=("$work"/one/*.deb)
dpkg-deb --info "${deb[0]}" | grep -E '^ (Package|Version|Architecture|Depends):'
# Scripts would need a shell in it; what they do is looked at below.
dpkg --root="$root" --force-not-root --force-depends --force-script-chrootless --log=/dev/null -i "${deb[0]}" >/dev/null 2>"$work/dpkg.log" || fail "dpkg: $(cat "$work/dpkg.log")"
[ "$("$root/usr/bin/pmtrace" version)" = "$says" ] || fail "the package has another binary"
[ "$(stat -c %a "$root/etc/pmtrace/pmtrace.env")" = 600 ] || fail "who may read pmtrace.env?"
if command -v man >/dev/null; then
	for page in "$root"/usr/share/man/man1/*.gz; do
		warned=$(MANWIDTH=80 man --warnings -l "$page" 2>&1 >"$work/page") || fail "man: $page"
		[ -z "$warned" ] || fail "man: $warned"
		[ -s "$work/page" ] || fail "an empty page: $page"
	done
fi
if command -v systemd-analyze >/dev/null; then
	sed "s|^ExecStart=/usr|ExecStart=$root/usr|" "$root/usr/lib/systemd/system/pmtrace.service" >"$work/pmtrace.service"
	warned=$(systemd-analyze verify --man=no "$work/pmtrace.service" 2>&1) || fail "systemd: $warned"
	[ -z "$warned" ] || fail "systemd: $warned"
fi
dpkg --root="$root" --force-not-root --force-script-chrootless --log=/dev/null -P pmtrace >/dev/null 2>"$work/dpkg.log" || fail "dpkg: $(cat "$work/dpkg.log")"
[ -z "$(find "$root" -name '*pmtrace*' -not -path '*/dpkg/*')" ] || fail "the package leaves something behind"

echo "go install of the module"
module=$(go list -m)
proxy=$work/proxy/$module/@v
mkdir -p "$proxy"
echo "{\"Version\":\"$version\"}" >"$proxy/$version.info"
cp "$work/a/go.mod" "$proxy/$version.mod"
# A module's zip leaves out the modules that lie in it, as the proxies make it.
mapfile -t inner < <(git -C "$work/a" ls-files '*/go.mod' | sed 's|\(.*\)/go.mod|:(exclude)\1|')
git -C "$work/a" archive --format=zip --prefix="$module@$version/" -o "$proxy/$version.zip" HEAD . "${inner[@]}"
echo $version >"$proxy/list"
(cd "$work" && GOFLAGS=-modcacherw GOBIN=$work/bin GOPROXY="file://$work/proxy,$(go env GOPROXY)" GONOSUMDB=$module GONOSUMCHECK=1 go install "$module/cmd/pmtrace@$version")
[[ $("$work/bin/pmtrace" version) == "pmtrace $version "* ]] || fail "what go install made says: $("$work/bin/pmtrace" version)"
rm -rf "$(go env GOMODCACHE)/$module@$version" "$(go env GOMODCACHE)/cache/download/$module"
echo "all of it holds"
