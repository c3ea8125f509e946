#!/usr/bin/env bash
# kernels.sh NAME…: kernels of distributions, as packages by name, each ready to boot:
#   $PMTRACE_CACHE/kernels/NAME/{vmlinuz,initrd,release}
# The initrd finds a disk (ext4 on virtio) and starts its /init.
. "$(dirname "$0")/lib.sh"

# origin NAME: distribution, suite, what to install. "newest" is the newest that Debian's stable has a backport of.
origin() {
	case $1 in
	5.10) echo debian bullseye linux-image-amd64 ;;
	5.15) echo ubuntu jammy-updates linux-image-virtual ;;
	6.1) echo debian bookworm linux-image-amd64 ;;
	6.8) echo ubuntu noble-updates linux-image-virtual ;;
	6.12) echo debian trixie linux-image-amd64 ;;
	newest) echo debian trixie-backports linux-image-amd64 ;;
	*) die "no kernel $1 is known here: 5.10, 5.15, 6.1, 6.8, 6.12, newest" ;;
	esac
}

# source_line DISTRIBUTION SUITE. Debian has no keyring of Ubuntu's: then what comes is not verified, and it only
# ever runs in a virtual machine without a network.
source_line() {
	local key=/usr/share/keyrings/$1-archive-keyring.gpg trust
	if [ -e "$key" ]; then trust=signed-by=$key; else trust=trusted=yes; fi
	case $1 in
	debian) echo "deb [arch=amd64 $trust] http://deb.debian.org/debian $2 main" ;;
	ubuntu) echo "deb [arch=amd64 $trust] http://archive.ubuntu.com/ubuntu $2 main" ;;
	esac
}

# of DIR COMMAND…: an apt of the directory's own, which knows one suite and of no installed package.
of() {
	local dir=$1
	mkdir -p "$dir/lists/partial" "$dir/archives/partial"
	touch "$dir/status"
	"$2" -qq -o Dir::State::Lists="$dir/lists" -o Dir::State::status="$dir/status" -o Dir::Cache="$dir" \
		-o Dir::Etc::SourceList="$dir/sources.list" -o Dir::Etc::SourceParts=/dev/null -o Dir::Etc::Preferences=/dev/null \
		-o Dir::Etc::PreferencesParts=/dev/null -o APT::Architecture=amd64 -o APT::Sandbox::User=root \
		-o Acquire::Languages=none -o Acquire::Retries=3 "${@:3}"
}

# depends DIR PACKAGE PATTERN: the package's dependencies of that name.
depends() { of "$1" apt-cache depends "$2" | sed -nE "s/.*Depends: ($3).*/\1/p"; }

# unpack DIR PACKAGE…: into DIR/root.
unpack() {
	local dir=$1 deb
	(cd "$dir/archives" && rm -f ./*.deb && of "$dir" apt-get download "${@:2}" >&2)
	for deb in "$dir"/archives/*.deb; do dpkg-deb -x "$deb" "$dir/root"; done
	rm -f "$dir"/archives/*.deb
}

# modules ROOT RELEASE NAME…: what insmod takes, in its order. A module that is built in or unknown is none.
modules() {
	local m
	for m in "${@:3}"; do
		modprobe -d "$1" -S "$2" --show-depends "$m" 2>/dev/null || :
	done | sed -nE 's/^insmod ([^ ]+).*/\1/p' | awk '!seen[$0]++'
}

# initrd ROOT RELEASE FILE: busybox, the modules of a disk, and an init that mounts it.
initrd() {
	local work n=0 m out
	work=$(mktemp -d)
	mkdir -p "$work"/{bin,modules,proc,dev,new}
	cp "$(command -v busybox)" "$work/bin/busybox"
	cp "$SETUP/../kernels/guest/initrd.sh" "$work/init"
	chmod +x "$work/init"
	# ext4 wants a checksum that its dependencies do not name.
	for m in $(modules "$1" "$2" virtio_pci virtio_blk crc32c_generic crc32c-cryptoapi ext4); do
		out=$work/modules/$(printf %02d $n)-$(basename "${m%.ko*}").ko
		n=$((n + 1))
		case $m in
		*.xz) xz -dc "$m" >"$out" ;;
		*.zst) zstd -qdc "$m" >"$out" ;;
		*) cp "$m" "$out" ;;
		esac
	done
	(cd "$work" && find . | cpio -o -H newc --quiet -R 0:0) >"$3"
	rm -rf "$work"
}

install_one() {
	local name=$1 dir=$PMTRACE_CACHE/kernels/$1 dist suite meta image release key parts
	read -r dist suite meta < <(origin "$name")
	key=$(cat "$0" "$SETUP/../kernels/guest/initrd.sh" | sha256sum)
	stamped "kernel-$name" "$key" && [ -s "$dir/initrd" ] && return
	say "kernel $name: $dist $suite"
	rm -rf "$dir"
	mkdir -p "$dir"
	source_line "$dist" "$suite" >"$dir/sources.list"
	of "$dir" apt-get update >&2
	image=$(depends "$dir" "$meta" 'linux-image-[0-9][^ ]*' | head -1)
	[ -n "$image" ] || die "$dist $suite has no $meta"
	release=${image#linux-image-}
	case $dist in
	ubuntu) unpack "$dir" "$image" "linux-modules-$release" ;; # the image's package has no modules there
	*)
		mapfile -t parts < <(depends "$dir" "$image" 'linux-(base|modules|binary)-[0-9][^ ]*') # of newer ones
		unpack "$dir" "$image" "${parts[@]}"
		;;
	esac
	# Newer packages have all below /usr.
	[ -e "$dir/root/lib/modules" ] || { mkdir -p "$dir/root/lib" && ln -s ../usr/lib/modules "$dir/root/lib/modules"; }
	depmod -b "$dir/root" "$release"
	image=$dir/root/boot/vmlinuz-$release
	[ -e "$image" ] || image=$dir/root/lib/modules/$release/vmlinuz
	install -m 644 "$image" "$dir/vmlinuz"
	initrd "$dir/root" "$release" "$dir/initrd"
	echo "$release $dist/$suite" >"$dir/release"
	rm -rf "$dir"/{root,lists,archives,pkgcache.bin,srcpkgcache.bin}
	stamp "kernel-$name" "$key"
}

[ "$(uname -m)" = x86_64 ] || die "these kernels are for x86_64 only"
PATH=$PATH:/usr/sbin:/sbin
has cpio cpio && has busybox busybox-static && has zstd zstd && has xz xz-utils && has depmod kmod
only_one kernels
for name; do install_one "$name"; done
echo "$PMTRACE_CACHE/kernels"
