#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# An incident: a small machine does its work under pagedbg's flight recorder, a driver leaks a page of each frame that it receives, and when
# no 16 pages that lie together are free any more, though most pages are, the machine panics.
#
# $LAB_LEAKY is the driver, and $LAB_PYTHON a Python that has pagedbg (default: pagedbg is on the PATH).
set -eu

pagedbg() {
	if [ "${LAB_PYTHON:-}" ]; then
		"$LAB_PYTHON" -m pagedbg "$@"
	else
		command pagedbg "$@"
	fi
}

# Before pagedbg's module, which has allocated its rings in code for its start: that is freed, and the next module may be loaded there and be
# taken for it in their stack.
insmod "$LAB_LEAKY"

# Room for some hundred frames, at 128 bytes an event.
pagedbg -e "trace set --orders 4" -e "trace start --flight --backend kmod --slots 8192"

# A disk with a journal, shared memory, a service in a cgroup, programs that come and go.
mkdir -p /run/disk
truncate -s 8M /run/disk.img
mkfs.ext4 -q /run/disk.img
mount -o loop /run/disk.img /run/disk
mkdir /run/disk/many
for i in $(seq 50); do echo "$i" >/run/disk/many/$i; done
mount -t tmpfs -o size=4M tmpfs /mnt
dd if=/dev/urandom of=/mnt/noise bs=64k count=16 status=none
mkdir /sys/fs/cgroup/service
(
	echo 0 >/sys/fs/cgroup/service/cgroup.procs
	tail -f /run/disk/many/1 >/dev/null &
	sh -c 'while sleep 1; do :; done' &
) >/dev/null 2>&1 </dev/null
find /etc /proc/self -xdev -type f >/dev/null 2>&1 || true
rm -r /run/disk/many/[1-4]?
sync

# What pagedbg has left in the caches would make the dump larger.
echo 3 >/proc/sys/vm/drop_caches

# More goes out than comes in, and only what comes in leaks. This shell goes by the name of what it makes.
printf traffic >/proc/self/comm
for i in $(seq 400); do
	echo "tx 24" >/proc/leaky
	echo "rx 16" >/proc/leaky
	echo "$i" >/run/disk/many/$i
	sleep 0.5
done
echo "The machine has survived." >&2
exit 1
