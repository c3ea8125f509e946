#!/usr/bin/env bash
# deploy.sh: what deploy/ holds, by others' checkers.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$(dirname "$(e2e/setup/deploy.sh)")
fail() { echo "FAIL: $*" >&2; exit 1; }

"$bin/hadolint" deploy/Dockerfile
for version in 1.30 1.33 1.37; do # 1.30 is the first with appArmorProfile
	"$bin/kubernetes-validate" -k $version --strict --quiet deploy/kubernetes/pmtrace.yaml
done
# It finds what is wrong, too.
! sed 's/readOnlyRootFilesystem/readOnlyRootFileSystem/' deploy/kubernetes/pmtrace.yaml | "$bin/kubernetes-validate" --strict --quiet /dev/stdin >/dev/null 2>&1 ||
	fail "kubernetes-validate finds nothing wrong with a key that there is not"

if ! command -v systemd-analyze >/dev/null; then
	echo "no systemd-analyze here: the unit is not checked"
	exit
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
sed "s|^ExecStart=/usr/bin/pmtrace|ExecStart=/bin/true|" deploy/systemd/pmtrace.service >"$work/pmtrace.service"
warned=$(systemd-analyze verify --man=no "$work/pmtrace.service" 2>&1) || fail "$warned"
[ -z "$warned" ] || fail "$warned"
# 10 is a service without any restriction.
systemd-analyze security --offline=true --threshold=30 --no-pager "$work/pmtrace.service" | tail -1
