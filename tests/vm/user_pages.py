# SPDX-License-Identifier: GPL-2.0-or-later
"""
Inside a guest: hold memory in ways that tell of pages more than who allocated them,
write the page frames of each into a file, and wait.

``moved``: migrated, since the page before it was taken out of use; ``swapped``: read
back from swap; ``secret``: of memfd_secret(); ``udmabuf`` and ``heap``: behind DMA
buffers.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import mmap
import os
import signal
import struct
import sys
from collections.abc import Iterator

PAGES = 4
SIZE = PAGES * mmap.PAGESIZE

MADV_PAGEOUT, MADV_SOFT_OFFLINE = 21, 101
KPF_SWAPCACHE = 13
MEMFD_SECRET = 447
UDMABUF_CREATE, DMA_HEAP_IOCTL_ALLOC = 0x40187542, 0xC0184800

# What is closed goes away.
KEPT: list[object] = []


def anonymous() -> mmap.mmap:
    """Memory of this program, in small pages."""
    memory = mmap.mmap(-1, SIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_NOHUGEPAGE)
    memory.write(os.urandom(SIZE))
    return memory


def pfns(memory: mmap.mmap) -> list[int]:
    """The page frames behind memory."""
    KEPT.append(memory)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    for at in range(0, SIZE, mmap.PAGESIZE):
        assert memory[at] >= 0
    with open("/proc/self/pagemap", "rb") as file:
        file.seek(start // mmap.PAGESIZE * 8)
        entries = struct.unpack(f"<{PAGES}Q", file.read(8 * PAGES))
    return [entry & (1 << 55) - 1 for entry in entries]


def moved() -> mmap.mmap:
    """Memory whose pages have been migrated."""
    memory = anonymous()
    while True:
        # Somebody may just look at one of them.
        with contextlib.suppress(OSError):
            memory.madvise(MADV_SOFT_OFFLINE)
            return memory


def swapped() -> mmap.mmap:
    """Memory that was in swap."""
    memory = anonymous()
    while True:
        before = pfns(memory)
        memory.madvise(MADV_PAGEOUT)
        # What was just written is kept, and let go the next time.
        if not any(map(in_swap_cache, before)):
            return memory


def in_swap_cache(pfn: int) -> bool:
    """Whether a page is in swap, too."""
    with open("/proc/kpageflags", "rb") as file:
        file.seek(8 * pfn)
        (flags,) = struct.unpack("<Q", file.read(8))
    return bool(flags >> KPF_SWAPCACHE & 1)


def secret() -> mmap.mmap:
    """Memory that not even the kernel looks at."""
    libc = ctypes.CDLL(None, use_errno=True)
    file = libc.syscall(MEMFD_SECRET, 0)
    if file < 0:
        raise OSError(ctypes.get_errno(), "memfd_secret")
    os.ftruncate(file, SIZE)
    return mmap.mmap(file, SIZE)


def udmabuf() -> mmap.mmap:
    """Memory of a file that is a DMA buffer, too."""
    file = os.memfd_create("pagedbg", os.MFD_ALLOW_SEALING)
    os.ftruncate(file, SIZE)
    fcntl.fcntl(file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
    with open("/dev/udmabuf", "rb") as device:
        made = struct.pack("=IIQQ", file, 0, 0, SIZE)
        KEPT.append(fcntl.ioctl(device, UDMABUF_CREATE, made))
    return mmap.mmap(file, SIZE)


def heap() -> mmap.mmap:
    """A DMA buffer of the system heap."""
    with open("/dev/dma_heap/system", "rb") as device:
        wanted = struct.pack("=QIIQ", SIZE, 0, os.O_RDWR | os.O_CLOEXEC, 0)
        made = fcntl.ioctl(device, DMA_HEAP_IOCTL_ALLOC, wanted)
    _, file, _, _ = struct.unpack("=QIIQ", made)
    return mmap.mmap(file, SIZE)


def lines() -> Iterator[str]:
    """How memory is held, and a page frame of it."""
    for make in (moved, swapped, secret, udmabuf, heap):
        for pfn in pfns(make()):
            yield f"{make.__name__} {pfn}"


def main(path: str) -> None:
    """Hold, say so, and wait."""
    said = "\n".join(lines())
    with open(f"{path}.new", "w", encoding="ascii") as file:
        print(said, file=file)
    os.rename(f"{path}.new", path)
    signal.pause()


if __name__ == "__main__":
    main(sys.argv[1])
