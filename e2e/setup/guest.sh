#!/usr/bin/env bash
# guest.sh: the disk of the virtual machines that kernels are tried in, a small Debian with a C compiler and
# CPythons, started by e2e/kernels/guest/init.sh: $PMTRACE_CACHE/kernels/guest.ext4
. "$(dirname "$0")/lib.sh"
SUITE=bookworm
PYTHONS='3.11 3.12 3.13 3.14'

disk=$PMTRACE_CACHE/kernels/guest.ext4
PATH=$PATH:/usr/sbin:/sbin
has debootstrap debootstrap && has qemu-system-x86_64 qemu-system-x86 && has mke2fs e2fsprogs
# shellcheck disable=SC2086
"$SETUP/cpythons.sh" $PYTHONS >/dev/null
mkdir -p "$(dirname "$disk")"
only_one guest
key=$(cat "$0" "$SETUP/../kernels/guest/init.sh" "$SETUP/cpythons.sh" | sha256sum)
if ! stamped guest "$key" || [ ! -s "$disk" ]; then
	say "a Debian $SUITE for virtual machines (a minute or two)"
	work=$(mktemp -d)
	as_root debootstrap --variant=minbase --include=gcc,libc6-dev,util-linux,procps,libcap2-bin "$SUITE" "$work" http://deb.debian.org/debian >"$PMTRACE_CACHE/kernels/guest.log" 2>&1 ||
		die "debootstrap failed: $PMTRACE_CACHE/kernels/guest.log"
	as_root rm -rf "$work"/var/cache/apt/* "$work"/var/lib/apt/lists/* "$work"/usr/share/{doc,man,locale}
	as_root mkdir -p "$work/cache/cpython"
	# shellcheck disable=SC2086
	for v in $PYTHONS; do as_root cp -r "$PMTRACE_CACHE/cpython/$v" "$work/cache/cpython/$v"; done
	as_root install -m 755 "$SETUP/../kernels/guest/init.sh" "$work/init"
	rm -f "$disk"
	as_root mke2fs -q -t ext4 -O ^metadata_csum_seed,^orphan_file -d "$work" "$disk" 3G >&2 # it names the file on stdout
	as_root rm -rf "$work"
	stamp guest "$key"
fi
echo "$disk"
