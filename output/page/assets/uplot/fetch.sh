#!/usr/bin/env bash
# fetch.sh: brings the charts' library again, as npm has it; refuses what is not the package that was pinned.
set -euo pipefail
cd "$(dirname "$0")"
version=1.6.32
integrity=sha512-KIMVnG68zvu5XXUbC4LQEPnhwOxBuLyW1AHtpm6IKTXImkbLgkMy+jabjLgSLMasNuGGzQm/ep3tOkyTxpiQIw==
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
(cd "$work" && npm pack --silent "uplot@$version" >/dev/null)
got=sha512-$(openssl dgst -sha512 -binary "$work/uplot-$version.tgz" | base64 -w 0)
[ "$got" = "$integrity" ] || { echo "fetch.sh: uplot $version is $got, not $integrity" >&2; exit 1; }
tar -xzf "$work/uplot-$version.tgz" -C "$work"
cp "$work/package/dist/uPlot.iife.min.js" "$work/package/dist/uPlot.min.css" "$work/package/LICENSE" .
sha256sum uPlot.iife.min.js uPlot.min.css LICENSE >SHA256SUMS
