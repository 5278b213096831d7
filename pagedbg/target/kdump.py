# SPDX-License-Identifier: GPL-2.0-or-later
"""What the headers of a kdump file say, held against the file before drgn sees them."""

from __future__ import annotations

import errno
import functools
import mmap
import os
import re
import struct
from collections.abc import Iterator

from pagedbg.errors import PagedbgError
from pagedbg.target.dump_header import (
    MOST_NOTES,
    MOST_VMCOREINFO,
    PAGE_SIZES,
    PIECE,
    DumpFile,
    bytes_there,
    check_note_texts,
    check_page_size,
    check_vmcoreinfo,
    damaged,
)

# 32 TiB of memory in pages of 4 KiB, for which libkdumpfile copies a bitmap of 1 GiB,
# and as many runs of pages next to each other as it has room for in half a GiB.
_MOST_PAGES = 1 << 33

_MOST_RUNS = 1 << 24

# What is compressed is smaller than a page; libkdumpfile reads as much as is claimed
# into memory, up to 4 GiB.
_MOST_COMPRESSED = 1 << 24

# The size of a page's descriptor.
_DESCRIPTOR = 24

_COMPRESSED = 0x1 | 0x2 | 0x4 | 0x20


def recognize_kdump(path: str, fd: int, head: bytes, size: int) -> DumpFile:
    """
    Say what a kdump file is, and that its headers can be believed.

    :param head: the first bytes of the file
    :param size: the file's
    :raises PagedbgError: for what drgn should not see, with a sentence
    """
    # struct disk_dump_header: signature, header_version, struct new_utsname (six
    # strings of 65), ..., block_size, sub_hdr_size, bitmap_blocks, max_mapnr;
    # makedumpfile's diskdump_mod.h. The sub header follows in the next block: struct
    # kdump_sub_header.
    machine = (
        head[12 + 4 * 65 : 12 + 5 * 65].split(b"\0")[0].decode(errors="replace")
        or "x86_64"
    )
    machine = re.sub(r"[^\w.-]", "?", machine, flags=re.ASCII)
    if machine == "Unknown":
        raise PagedbgError(
            f"{path} does not say of which architecture it is, as kdump files that QEMU"
            " writes of other machines than x86: have it dump the guest as ELF, without"
            " a format."
        )
    (version,) = struct.unpack_from("<i", head, 8)
    block_size, sub_blocks, bitmap_blocks, max_mapnr = struct.unpack_from(
        "<iiiI", head, 428
    )
    if block_size not in PAGE_SIZES:
        raise damaged(path, f"its header has a block size of {block_size}")
    _check_32_bits(path, head)
    # phys_base, dump_level, split, start_pfn, end_pfn, and where vmcoreinfo, notes and
    # what was erased are; then 64-bit page numbers.
    sub = os.pread(fd, 104, block_size)
    _, level, split, *rest = struct.unpack(
        "<Qii 2Q 6Q 3Q", sub.ljust(104, b"\0") if len(sub) >= 16 else sub
    )
    start_pfn, end_pfn = rest[8:10] if version >= 6 else rest[:2]
    pages = rest[10] if version >= 6 else max_mapnr
    # libkdumpfile maps the bitmap, and where the file has none it dies of SIGBUS.
    bitmap_at = (1 + max(sub_blocks, 1)) * block_size
    pages_at = bitmap_at + bitmap_blocks * block_size
    if bitmap_blocks < 0 or size < pages_at:
        raise struct.error
    if pages > _MOST_PAGES:
        raise damaged(path, f"it would be of {pages:,} pages")
    if bitmap_blocks > 2 * (pages // 8 // block_size + 2):
        raise damaged(
            path,
            f"it would be of {pages:,} pages, and its bitmap of"
            f" {bitmap_blocks * block_size * 4:,}",
        )
    if split and not start_pfn <= end_pfn:
        raise damaged(
            path, f"it would be of the pages from {start_pfn:#x} to {end_pfn:#x}"
        )
    names: set[bytes] = set()
    if version >= 3:
        for (offset, length), most in zip(
            zip(rest[2:8:2], rest[3:8:2], strict=True),
            (MOST_VMCOREINFO, MOST_NOTES, MOST_NOTES),
            strict=True,
        ):
            if length > most or (length and offset + length > size):
                raise damaged(
                    path, f"its header has {length:,} bytes of notes at {offset:,}"
                )
        text = os.pread(fd, rest[3], rest[2]) if rest[3] else b""
        check_vmcoreinfo(path, text)
        check_page_size(path, text, block_size)
        if rest[5]:
            names = check_note_texts(path, os.pread(fd, rest[5], rest[4]), block_size)
    # Where the bitmap has room for two of as many pages, the second is of those that
    # the file has, else there is only one.
    half = bitmap_blocks // 2 * block_size
    at, length = (
        (bitmap_at + half, half)
        if pages <= bitmap_blocks * block_size * 4
        else (bitmap_at, bitmap_blocks * block_size)
    )
    for start, count in {(bitmap_at, length), (at, length)}:
        if _runs(fd, start, count) > _MOST_RUNS:
            raise damaged(
                path, f"the pages it has are in more than {_MOST_RUNS:,} pieces"
            )
    furthest, torn = _page_ends(path, fd, size, at, length, pages_at)
    holes = tuple((pfn * block_size, (pfn + 1) * block_size, False) for pfn in torn)
    bare = not (version >= 3 and rest[3]) and b"VMCOREINFO" not in names
    return DumpFile(
        path,
        "kdump",
        machine,
        level,
        holes,
        0 if split else furthest - size,
        bool(torn),
        block_size,
        functools.partial(_memory, at, length, block_size, size) if bare else None,
    )


def _check_32_bits(path: str, head: bytes) -> None:
    """
    Refuse a header that libkdumpfile, which asks that first, would take for a 32-bit
    one, in which everything is elsewhere.
    """
    for order in "<>":
        block_size, _, bitmap_blocks, max_mapnr = struct.unpack_from(
            f"{order}iiII", head, 416
        )
        if block_size in PAGE_SIZES and 8 * block_size * bitmap_blocks >= max_mapnr:
            raise PagedbgError(
                f"{path} is not a dump of a 64-bit machine, or is damaged: it cannot be"
                " read."
            )


def _pieces(
    fd: int, start: int, length: int, unit: int = 1
) -> Iterator[tuple[int, bytes]]:
    """
    Read a part of a file, a few MiB at a time, without what was never written (which is
    zero); pieces begin at multiples of ``unit``.
    """
    at, end = start, start + length
    while at < end:
        try:
            data_at = os.lseek(fd, at, os.SEEK_DATA)
            hole_at = os.lseek(fd, data_at, os.SEEK_HOLE)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            data_at, hole_at = at, end
        at = max(at, start + (data_at - start) // unit * unit)
        stop = min(end, start + -(-(hole_at - start) // unit) * unit)
        for first in range(at, stop, PIECE // unit * unit):
            data = os.pread(fd, min(PIECE // unit * unit, stop - first), first)
            if not data:
                return
            yield first, data
        at = max(stop, at + unit)


def _runs(fd: int, start: int, length: int) -> int:
    """
    How many runs of ones a bitmap has, counted a byte's bits at a time: where the bit
    before is not set.
    """
    import numpy as np

    count, last, follows = 0, 0, start
    for at, data in _pieces(fd, start, length):
        bits = np.frombuffer(data, np.uint8)
        # Bit 0 is the first page.
        before = np.empty(len(bits), np.uint8)
        before[1:] = bits[:-1] >> 7
        before[0] = last >> 7 if at == follows else 0
        begins = bits & ~(bits << 1 | before)
        count += int.from_bytes(begins.tobytes(), "little").bit_count()
        last, follows = int(bits[-1]), at + len(data)
    return count


def _page_ends(
    path: str, fd: int, size: int, bitmap_at: int, length: int, pages_at: int
) -> tuple[int, list[int]]:
    """
    Look at the descriptors of all pages, of which the bitmap has a bit each: ``struct
    page_desc { off_t offset; u32 size, flags; u64 page_flags; }``.

    :return: where the last page ends, and the number of the page that the file ends in,
        if there is one
    :raises PagedbgError: if some would take much memory, or the file cannot end in all
        of them
    """
    import numpy as np

    count = sum(
        int.from_bytes(data, "little").bit_count()
        for _, data in _pieces(fd, bitmap_at, length)
    )
    page_desc = np.dtype(
        [("offset", "<u8"), ("size", "<u4"), ("flags", "<u4"), ("page_flags", "<u8")]
    )
    end = pages_at + page_desc.itemsize * count
    if end > size:
        raise PagedbgError(
            f"{path} is cut short: it ends before the first of its pages."
        )
    # libkdumpfile maps the file: what is missing of its last page of memory is zero,
    # what lies behind that is not there at all.
    mapped = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
    furthest = max(size, end)
    torn: list[int] = []
    for at, data in _pieces(fd, pages_at, end - pages_at, page_desc.itemsize):
        found = np.frombuffer(
            data[: len(data) // page_desc.itemsize * page_desc.itemsize], page_desc
        )
        first = (at - pages_at) // page_desc.itemsize
        bad = np.flatnonzero(
            (found["flags"] & _COMPRESSED != 0) & (found["size"] > _MOST_COMPRESSED)
        )
        if len(bad):
            claimed = int(found["size"][bad[0]])
            raise damaged(
                path,
                f"page {first + int(bad[0]):,} of {count:,} in it would be compressed"
                f" into {claimed:,} bytes",
            )
        last = int(found["offset"].argmax())
        furthest = max(furthest, int(found["offset"][last]) + int(found["size"][last]))
        torn += (
            first
            + np.flatnonzero(
                (found["offset"] < size) & (found["offset"] + found["size"] > mapped)
            )
        ).tolist()
        if len(torn) > 1:
            raise damaged(
                path,
                f"it ends in the middle of page {torn[0]:,} and of page {torn[1]:,} of"
                f" {count:,}",
            )
    return furthest, [_page_number(fd, bitmap_at, length, rank) for rank in torn]


def _memory(
    bitmap_at: int, length: int, page_size: int, size: int, fd: int
) -> Iterator[tuple[int, int]]:
    """
    The ranges of physical addresses that the file has; no more pages than it has room
    for in descriptors.
    """
    import numpy as np

    left = bytes_there(fd, size) // _DESCRIPTOR
    for at, data in _pieces(fd, bitmap_at, length):
        bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
        edges = np.flatnonzero(np.diff(bits.view(np.int8), prepend=0, append=0))
        first = 8 * (at - bitmap_at)
        for start, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
            if left <= 0:
                return
            yield (first + start) * page_size, (first + end) * page_size
            left -= end - start


def _page_number(fd: int, bitmap_at: int, length: int, rank: int) -> int:
    """Which bit of a bitmap is the one before which ``rank`` others are set."""
    import numpy as np

    for at, data in _pieces(fd, bitmap_at, length):
        here = int.from_bytes(data, "little").bit_count()
        if rank < here:
            bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
            return 8 * (at - bitmap_at) + int(np.flatnonzero(bits)[rank])
        rank -= here
    raise AssertionError("the bitmap has changed")
