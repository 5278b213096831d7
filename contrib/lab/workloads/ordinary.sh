#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# What an ordinary small machine holds: the test module's blocks if there is one, a few processes in a cgroup, page cache of ext4 and tmpfs,
# transparent and hugetlb huge pages, and pages that compaction has moved. Everything stays alive after the script's end.
set -eu

[ -z "${LAB_BLOCKS-}" ] || insmod "$LAB_BLOCKS"

# Page cache with a journal behind it: 9p, the root, caches nothing.
# Debian's own kernels have both as modules.
modprobe -qa loop ext4 || :
mkdir -p /run/disk
truncate -s 24M /run/disk.img
mkfs.ext4 -q /run/disk.img
mount -o loop /run/disk.img /run/disk
cp /usr/share/common-licenses/* /run/disk/
mkdir /run/disk/many
for i in $(seq 100); do echo "$i" >/run/disk/many/$i; done

mount -t tmpfs -o size=8M tmpfs /mnt
dd if=/dev/urandom of=/mnt/noise bs=64k count=16 status=none
echo 2 >/proc/sys/vm/nr_hugepages

# dd waits for ever with a buffer that is large enough for huge pages, aligned or not.
mkdir /sys/fs/cgroup/service
(
	echo 0 >/sys/fs/cgroup/service/cgroup.procs
	dd if=/dev/zero bs=6M count=1 status=none | sleep infinity &
	tail -f /run/disk/many/1 >/dev/null &
	sh -c 'while sleep 1; do :; done' &
) >/dev/null 2>&1 </dev/null

# Processes that come and go leave records of freed pages and of other owners.
for i in 1 2 3; do find /etc /proc/self -xdev -type f >/dev/null 2>&1; done
rm -r /run/disk/many/[5-9]*
sync
echo 1 >/proc/sys/vm/compact_memory
