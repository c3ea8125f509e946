#!/usr/bin/env bash
# release.sh: what deploy/release makes a release with, pinned, in $PMTRACE_CACHE/bin. Needs go on the PATH.
. "$(dirname "$0")/lib.sh"
NFPM=v2.45.2
CYCLONEDX_GOMOD=v1.10.0

only_one release
go_tool nfpm github.com/goreleaser/nfpm/v2/cmd/nfpm $NFPM
go_tool cyclonedx-gomod github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod $CYCLONEDX_GOMOD
has readelf binutils
