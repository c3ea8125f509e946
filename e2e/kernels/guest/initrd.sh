#!/bin/busybox sh
# The first process of a kernel: mounts the disk and goes on there.
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t devtmpfs dev /dev
for m in /modules/*.ko; do $b insmod "$m" || $b echo "no $m"; done
i=0
while [ ! -b /dev/vda ] && [ $i -lt 100 ]; do i=$((i + 1)); $b usleep 100000; done
$b mount -t ext4 /dev/vda /new || { $b echo "the disk cannot be mounted"; $b poweroff -f; }
$b umount /proc
$b mount --move /dev /new/dev
exec $b switch_root /new /init
