#!/bin/sh
# The first process on the guest's disk. The second disk is a tar of what to run, the third
# takes a tar of what came out.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root PMTRACE_CACHE=/cache
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs tmp /tmp
mount -t bpf bpf /sys/fs/bpf
mount -t tracefs trace /sys/kernel/tracing
mkdir -p /dev/shm /dev/pts /work /tmp/results
mount -t tmpfs shm /dev/shm
ln -sf /proc/self/fd /dev/fd
ip link set lo up 2>/dev/null
tar -x -f /dev/vdb -C /work
cd /work && sh e2e/kernels/guest/run.sh /tmp/results
tar -c -f /dev/vdc -C /tmp/results .
sync
echo "guest: done"
echo b >/proc/sysrq-trigger
