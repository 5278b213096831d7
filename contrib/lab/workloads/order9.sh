#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# A machine without any capture that panics because an allocation of 2 MiB fails, though most of its memory is free: page tables, slab
# caches and a driver hold what is in the way, and it is the least of them that matters.
#
# $LAB_METER and $LAB_CAMERA are the drivers, and $LAB_PYTHON a Python.
set -eu

insmod "$LAB_METER"
insmod "$LAB_CAMERA"

# A disk with a journal, many small files in memory.
mkdir -p /run/disk
truncate -s 8M /run/disk.img
mkfs.ext4 -q /run/disk.img
mount -o loop /run/disk.img /run/disk
mount -t tmpfs tmpfs /mnt
for i in $(seq 3000); do : >/mnt/$i; done
find /etc /proc/self -xdev -type f >/dev/null 2>&1 || true
sync
echo 3 >/proc/sys/vm/drop_caches

# They go on, those that stay.
: >/run/scan
"$LAB_PYTHON" "$(dirname "$0")/order9.py" >/run/scan 2>&1 </dev/null &
until grep -q kept /run/scan; do
	! grep failed /run/scan >&2
	sleep 0.5
done

# What can be given back is.
echo 3 >/proc/sys/vm/drop_caches
for cache in /sys/kernel/slab/*/shrink; do echo 1 >"$cache"; done

# Pictures are taken until there is no memory for one.
echo 64 >/proc/camera
echo "The machine has survived." >&2
exit 1
