# SPDX-License-Identifier: GPL-2.0-or-later
"""
Runs in a guest: a virtual machine that never runs, with memory of its own kind
(``KVM_CREATE_GUEST_MEMFD``). Writes how many pages it has to a file, and holds them.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import struct
import sys

CREATE_VM, CREATE_GUEST_MEMFD = 0xAE01, 0xC040AED4
KEEP_SIZE = 1
PAGES = 1000


def main() -> None:
    kvm = os.open("/dev/kvm", os.O_RDWR)
    machine = fcntl.ioctl(kvm, CREATE_VM, 0)
    size = PAGES * 4096
    memory = fcntl.ioctl(
        machine, CREATE_GUEST_MEMFD, bytearray(struct.pack("=QQ48x", size, 0))
    )
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.fallocate(memory, KEEP_SIZE, ctypes.c_long(0), ctypes.c_long(size)):
        raise OSError(ctypes.get_errno(), "fallocate")
    with open(sys.argv[1], "w", encoding="ascii") as file:
        file.write(f"{PAGES}\n")
    signal.pause()


main()
