# SPDX-License-Identifier: GPL-2.0-or-later
"""
Inside a guest: have a pipe hold references to pages of this program's memory, write
their page frame numbers into a file, and wait. The kernel's own files say which they
are.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import struct
import sys
import time

PAGES = 8

PR_SET_NAME = 15


class Iovec(ctypes.Structure):
    """``struct iovec``"""

    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


def main(path: str) -> None:
    """Pin, say so, and wait."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_NAME, b"busy", 0, 0, 0)
    size = PAGES * mmap.PAGESIZE
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    # Small pages only: a huge one would be pinned as a whole.
    memory.madvise(mmap.MADV_NOHUGEPAGE)
    memory.write(os.urandom(size))
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    _, end = os.pipe()
    iovec = Iovec(start, size)
    done = libc.vmsplice(end, ctypes.byref(iovec), ctypes.c_ulong(1), 0)
    if done != size:
        sys.exit(f"vmsplice: {done}, {os.strerror(ctypes.get_errno())}")
    # On their way to the LRU the pages have one reference more.
    time.sleep(0.2)
    with open("/proc/self/pagemap", "rb") as file:
        file.seek(start // mmap.PAGESIZE * 8)
        entries = struct.unpack(f"<{PAGES}Q", file.read(8 * PAGES))
    with open(path, "w", encoding="ascii") as file:
        print(*(entry & (1 << 55) - 1 for entry in entries), file=file)
    signal.pause()


if __name__ == "__main__":
    main(sys.argv[1])
