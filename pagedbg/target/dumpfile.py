# SPDX-License-Identifier: GPL-2.0-or-later
"""
What the bytes of a dump file say before drgn opens it: its format, its architecture,
and what was left out of it.

A dump may be damaged, or made by somebody who means harm. drgn, libelf and libkdumpfile
believe what its headers say: they allocate what is claimed and map what may not be
there. So whatever they will follow is checked here first, against the file's size and
what a kernel can have.
"""

from __future__ import annotations

import dataclasses
import errno
import mmap
import os
import re
import stat
import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from drgn import Architecture, FaultError, Platform, Program

from pagedbg.errors import PagedbgError

if TYPE_CHECKING:
    from numpy.typing import NDArray

ARCHITECTURES = {"x86_64": Architecture.X86_64, "aarch64": Architecture.AARCH64}
"""The architectures whose dumps can be read, by ``utsname.machine``."""

# e_machine in include/uapi/linux/elf-em.h, by utsname.machine.
_ELF_MACHINES = {
    62: "x86_64",
    183: "aarch64",
    3: "i386",
    40: "arm",
    21: "ppc64",
    22: "s390x",
    243: "riscv64",
    258: "loongarch64",
}
_ET_CORE = 4
_PT_LOAD = 1
_PT_NOTE = 4
_PHDR = struct.Struct("<IIQQQQQQ")
_PHDR_FIELDS = ("type", "flags", "offset", "vaddr", "paddr", "filesz", "memsz", "align")

_FOREIGN = {
    b"makedumpfile": "is a flattened dump: turn it into a file with `makedumpfile -R`",
    b"\x1f\x8b": "is compressed with gzip: unpack it first",
    b"\xfd7zXZ\0": "is compressed with xz: unpack it first",
    b"\x28\xb5\x2f\xfd": "is compressed with zstd: unpack it first",
    b"EMiL": "is a LiME image, which carries no vmcoreinfo: it cannot be read",
}

FILTERED = (
    (1, "zero pages"),
    (2, "page cache"),
    (4, "private page cache"),
    (8, "user data"),
    (16, "free pages"),
)
"""What each bit of makedumpfile's dump level leaves out."""

# A segment is a range of memory of the machine, or a run of pages that makedumpfile
# kept of one. drgn and we take some hundred bytes for each.
_MOST_SEGMENTS = 1 << 20

# A kernel's core has one, or none.
_MOST_SECTIONS = 1 << 16

# Registers of every CPU, and vmcoreinfo: a few hundred bytes a CPU.
_MOST_NOTES = 16 << 20

# VMCOREINFO_BYTES is a page. Its keys are of the size of
# SYMBOL(kallsyms_relative_base).
_MOST_VMCOREINFO = 1 << 20
_LONGEST_KEY = 128

# libkdumpfile's MIN_PAGE_SIZE and MAX_PAGE_SIZE.
_PAGE_SIZES = tuple(1 << shift for shift in range(12, 19))

# 32 TiB of memory in pages of 4 KiB, for which libkdumpfile copies a bitmap of 1 GiB,
# and as many runs of pages next to each other as it has room for in half a GiB.
_MOST_PAGES = 1 << 33
_MOST_RUNS = 1 << 24

# What is compressed is smaller than a page; libkdumpfile reads as much as is claimed
# into memory, up to 4 GiB.
_MOST_COMPRESSED = 1 << 24
_COMPRESSED = 0x1 | 0x2 | 0x4 | 0x20

_PIECE = 4 << 20


@dataclasses.dataclass(frozen=True)
class DumpFile:
    """
    A dump as its header describes it.

    ``level`` is makedumpfile's dump level (see :data:`FILTERED`), None where the format
    does not say. ``holes`` are ranges of physical (or, with ``virtual`` true, virtual)
    addresses that the file names but holds no bytes of. ``missing`` is how many bytes
    the file is too short. ``torn`` says that libkdumpfile would die of SIGBUS if it
    read one of the holes, in which the file ends: virtual addresses have to be looked
    up by drgn, which comes by :meth:`guard`.
    """

    path: str
    format: str
    machine: str
    level: int | None = None
    holes: tuple[tuple[int, int, bool], ...] = ()
    missing: int = 0
    torn: bool = False

    @property
    def platform(self) -> Platform:
        """The platform that drgn needs told for some kdump files."""
        return Platform(ARCHITECTURES[self.machine])

    @property
    def left_out_zeroes(self) -> bool:
        """Whether a page that is not in the dump may be one of zeroes."""
        return bool((self.level or 0) & 1)

    def left_out(self) -> list[str]:
        """Names of what the dump was filtered of."""
        return [name for bit, name in FILTERED if (self.level or 0) & bit]

    def cut_short(self) -> str:
        """A sentence about what is :attr:`missing`."""
        return (
            f"{self.path} is cut short: its last {self.missing / 2**20:.1f} MiB are"
            " missing."
        )

    def guard(self, prog: Program) -> None:
        """
        Make reads of the :attr:`holes` fail.

        drgn reads them as zeroes, which would make "never allocated" of a record that
        the dump left out.
        """

        def refuse(address: int, count: int, offset: int, physical: bool) -> bytes:
            raise FaultError("not in the dump", address)

        for start, end, virtual in self.holes:
            prog.add_memory_segment(start, end - start, refuse, not virtual)


def open_file(path: str, what: str = "a dump is a file") -> int:
    """
    Open a file that somebody gave us, or a disk, and nothing that has no size or no
    end: no pipe, no terminal, no ``/dev/zero``.

    :param what: what the sentence of refusal says that is wanted
    :return: a descriptor
    :raises PagedbgError: if it is something else, or cannot be opened
    """
    try:
        # Without O_NONBLOCK a pipe that nobody writes to would be waited for. A
        # terminal must not become ours.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except (OSError, ValueError) as error:
        # A socket cannot be opened at all.
        reason = (
            "it is no file"
            if isinstance(error, OSError) and error.errno == errno.ENXIO
            else getattr(error, "strerror", None) or error
        )
        raise PagedbgError(f"{path} cannot be read: {reason}.") from None
    mode = os.fstat(fd)
    if (
        stat.S_ISREG(mode.st_mode)
        or stat.S_ISBLK(mode.st_mode)
        or (stat.S_ISCHR(mode.st_mode) and mode.st_rdev == os.makedev(1, 3))
    ):
        # /dev/null is as good as an empty file.
        return fd
    os.close(fd)
    if stat.S_ISDIR(mode.st_mode):
        raise PagedbgError(f"{path} cannot be read: {os.strerror(errno.EISDIR)}.")
    kind = "a pipe" if stat.S_ISFIFO(mode.st_mode) else "a device"
    raise PagedbgError(
        f"{path} is {kind}, and {what}: copy its contents into one first."
    )


def recognize(path: str) -> DumpFile:
    """
    Read a dump's header.

    :raises PagedbgError: if the file cannot be read, is no dump, is one of an
        architecture that cannot be read, or is damaged so that drgn must not see it
    """
    fd = open_file(path)
    try:
        return recognize_open(fd, path)
    finally:
        os.close(fd)


def recognize_open(fd: int, path: str) -> DumpFile:
    """
    Do what :func:`recognize` does with a file that is open; ``path`` is for sentences.
    """
    try:
        head = os.pread(fd, 4096, 0)
        # Of a disk only seeking tells the size.
        size = os.lseek(fd, 0, os.SEEK_END)
        if head.startswith(b"\x7fELF"):
            dump = _elf(path, fd, head, size)
        elif head.startswith((b"KDUMP   ", b"DISKDUMP")):
            dump = _kdump(path, fd, head, size)
        else:
            raise PagedbgError(f"{path} {_foreign(head)}.")
    except OSError as error:
        raise PagedbgError(f"{path} cannot be read: {error.strerror}.") from None
    except struct.error:
        raise PagedbgError(f"{path} is cut short: it ends inside its header.") from None
    if dump.machine not in ARCHITECTURES:
        raise PagedbgError(
            f"{path} is a dump of a {dump.machine} machine; pagedbg reads those of"
            f" {' and '.join(ARCHITECTURES)}."
        )
    return dump


def _foreign(head: bytes) -> str:
    if not head:
        return "is empty"
    for magic, sentence in _FOREIGN.items():
        if head.startswith(magic):
            return sentence
    return "is no dump: neither an ELF core nor a kdump file"


def _damaged(path: str, what: str) -> PagedbgError:
    return PagedbgError(f"{path} is damaged: {what}.")


def _check_vmcoreinfo(path: str, text: bytes) -> None:
    """
    Refuse what a kernel does not write into vmcoreinfo.

    libkdumpfile makes a tree of the keys, as deep as they have dots, and believes a
    size of pages.
    """
    if any(
        len(line.partition(b"=")[0]) > _LONGEST_KEY
        for line in text.split(b"\n")
        if line.strip(b"\0")
    ):
        raise _damaged(path, "its vmcoreinfo is no text of a kernel's")


# ---- ELF ----------


def _elf(path: str, fd: int, head: bytes, size: int) -> DumpFile:
    import numpy as np

    if head[4:6] != b"\2\1":
        raise PagedbgError(
            f"{path} is not a 64-bit little-endian ELF file: it cannot be read."
        )
    kind, machine = struct.unpack_from("<HH", head, 16)
    if kind != _ET_CORE:
        raise PagedbgError(
            f"{path} is an ELF file but no core dump; give debug info with -s."
        )
    loads: list[NDArray[Any]] = []
    notes: list[tuple[int, int]] = []
    missing = 0
    for headers in _program_headers(path, fd, head, size):
        chosen = headers[(headers["type"] == _PT_LOAD) | (headers["type"] == _PT_NOTE)]
        if not len(chosen):
            continue
        ends = chosen["offset"] + chosen["filesz"]
        # What is claimed may end beyond 64 bits.
        ends[ends < chosen["offset"]] = np.iinfo(ends.dtype).max
        missing = max(missing, int(ends.max()) - size)
        is_note = chosen["type"] == _PT_NOTE
        notes += zip(
            chosen["offset"][is_note].tolist(),
            chosen["filesz"][is_note].tolist(),
            strict=True,
        )
        loads.append(chosen[~is_note])
    _check_notes(path, fd, size, notes)
    holes = _holes(np.concatenate(loads), size) if loads else ()
    return DumpFile(
        path,
        "ELF",
        _ELF_MACHINES.get(machine, f"machine {machine}"),
        None,
        holes,
        missing,
    )


def _program_headers(
    path: str, fd: int, head: bytes, size: int
) -> Iterator[NDArray[Any]]:
    """
    The program headers, piece by piece, each an array with the fields of
    ``Elf64_Phdr``.
    """
    import numpy as np

    phoff, shoff = struct.unpack_from("<QQ", head, 32)
    phentsize, phnum, _, shnum = struct.unpack_from("<HHHH", head, 54)
    section = os.pread(fd, 64, shoff) if 0 < shoff < 1 << 63 else b""
    if phnum == 0xFFFF:
        # PN_XNUM: the number is in sh_info of section 0.
        (phnum,) = struct.unpack_from("<I", section, 44)
    # libelf makes room for as many sections as section 0 says where the header says
    # none.
    if (
        not shnum
        and len(section) == 64
        and struct.unpack_from("<Q", section, 32)[0] > _MOST_SECTIONS
    ):
        raise _damaged(
            path, f"it would have {struct.unpack_from('<Q', section, 32)[0]:,} sections"
        )
    if phnum > _MOST_SEGMENTS:
        raise PagedbgError(
            f"{path} would be in {phnum:,} segments, and at most {_MOST_SEGMENTS:,} are"
            " read: write it anew with `makedumpfile -c`, as a kdump file."
        )
    if phentsize != _PHDR.size or phoff + phentsize * phnum > size:
        raise struct.error
    dtype = np.dtype(list(zip(_PHDR_FIELDS, ("<u4", "<u4", *["<u8"] * 6), strict=True)))
    step = _PIECE // _PHDR.size
    for first in range(0, phnum, step):
        count = min(step, phnum - first)
        data = os.pread(fd, count * _PHDR.size, phoff + first * _PHDR.size)
        if len(data) < count * _PHDR.size:
            raise struct.error
        yield np.frombuffer(data, dtype)


def _check_notes(path: str, fd: int, size: int, notes: list[tuple[int, int]]) -> None:
    """Refuse notes that drgn would take much memory for."""
    if sum(length for _, length in notes) > _MOST_NOTES:
        raise _damaged(
            path, f"it would have {sum(length for _, length in notes):,} bytes of notes"
        )
    for offset, length in notes:
        if offset < size:
            _check_note_texts(path, os.pread(fd, length, offset))


def _check_note_texts(path: str, data: bytes, page_size: int | None = None) -> None:
    """
    Check what vmcoreinfo is in some notes (``Elf64_Nhdr``), as far as they make sense.
    """
    at = 0
    while at + 12 <= len(data):
        name_size, size, _ = struct.unpack_from("<III", data, at)
        name = data[at + 12 : at + 12 + name_size].rstrip(b"\0")
        at += 12 + -(-name_size // 4) * 4
        if name == b"VMCOREINFO":
            _check_vmcoreinfo(path, data[at : at + size])
            _check_page_size(path, data[at : at + size], page_size)
        elif page_size is not None and b"Xen" in name:
            raise PagedbgError(f"{path} is a dump of a Xen host: it cannot be read.")
        at += -(-size // 4) * 4


def _holes(loads: NDArray[Any], size: int) -> tuple[tuple[int, int, bool], ...]:
    """
    The ranges that segments name and the file does not hold, those that meet as one.
    """
    import numpy as np

    room = np.uint64(size) - np.minimum(loads["offset"], np.uint64(size))
    present = np.minimum(loads["filesz"], room)
    lacking = present < loads["memsz"]
    holes: list[tuple[int, int, bool]] = []
    rows = zip(
        *(
            column[lacking].tolist()
            for column in (loads["vaddr"], loads["paddr"], present, loads["memsz"])
        ),
        strict=True,
    )
    joined: dict[bool, tuple[int, int]] = {}
    for vaddr, paddr, there, memsz in rows:
        # An address of all ones stands for none; one of zero is a virtual one only
        # where no other is known.
        for virtual, base in ((False, paddr), (True, vaddr)):
            start, end = base + there, min(base + memsz, 1 << 64)
            if start >= end or (virtual and not vaddr):
                continue
            before = joined.get(virtual)
            if before is not None and before[1] == start:
                joined[virtual] = (before[0], end)
                continue
            if before is not None:
                holes.append((*before, virtual))
            joined[virtual] = (start, end)
    holes += [(*last, virtual) for virtual, last in joined.items()]
    return tuple(holes)


# ---- kdump ----------


def _kdump(path: str, fd: int, head: bytes, size: int) -> DumpFile:
    # struct disk_dump_header: signature, header_version, struct new_utsname (six
    # strings of 65), ..., block_size, sub_hdr_size, bitmap_blocks, max_mapnr;
    # makedumpfile's diskdump_mod.h. The sub header follows in the next block: struct
    # kdump_sub_header.
    machine = (
        head[12 + 4 * 65 : 12 + 5 * 65].split(b"\0")[0].decode(errors="replace")
        or "x86_64"
    )
    machine = re.sub(r"[^\w.-]", "?", machine, flags=re.ASCII)
    (version,) = struct.unpack_from("<i", head, 8)
    block_size, sub_blocks, bitmap_blocks, max_mapnr = struct.unpack_from(
        "<iiiI", head, 428
    )
    if block_size not in _PAGE_SIZES:
        raise _damaged(path, f"its header has a block size of {block_size}")
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
        raise _damaged(path, f"it would be of {pages:,} pages")
    if bitmap_blocks > 2 * (pages // 8 // block_size + 2):
        raise _damaged(
            path,
            f"it would be of {pages:,} pages, and its bitmap of"
            f" {bitmap_blocks * block_size * 4:,}",
        )
    if split and not start_pfn <= end_pfn:
        raise _damaged(
            path, f"it would be of the pages from {start_pfn:#x} to {end_pfn:#x}"
        )
    if version >= 3:
        for (offset, length), most in zip(
            zip(rest[2:8:2], rest[3:8:2], strict=True),
            (_MOST_VMCOREINFO, _MOST_NOTES, _MOST_NOTES),
            strict=True,
        ):
            if length > most or (length and offset + length > size):
                raise _damaged(
                    path, f"its header has {length:,} bytes of notes at {offset:,}"
                )
        text = os.pread(fd, rest[3], rest[2]) if rest[3] else b""
        _check_vmcoreinfo(path, text)
        _check_page_size(path, text, block_size)
        if rest[5]:
            _check_note_texts(path, os.pread(fd, rest[5], rest[4]), block_size)
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
            raise _damaged(
                path, f"the pages it has are in more than {_MOST_RUNS:,} pieces"
            )
    furthest, torn = _page_ends(path, fd, size, at, length, pages_at)
    holes = tuple((pfn * block_size, (pfn + 1) * block_size, False) for pfn in torn)
    return DumpFile(
        path,
        "kdump",
        machine,
        level,
        holes,
        0 if split else furthest - size,
        bool(torn),
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
        if block_size in _PAGE_SIZES and 8 * block_size * bitmap_blocks >= max_mapnr:
            raise PagedbgError(
                f"{path} is not a dump of a 64-bit machine, or is damaged: it cannot be"
                " read."
            )


def _check_page_size(path: str, vmcoreinfo: bytes, page_size: int | None) -> None:
    """
    Refuse pages of two sizes: libkdumpfile has buffers of one, and reads pages of the
    other into them.
    """
    for said in re.findall(rb"(?:^|\n)PAGESIZE=([^\n\0]*)", vmcoreinfo):
        if page_size is not None and said != b"%d" % page_size:
            raise _damaged(
                path,
                f"its pages are of {page_size} bytes by its header, and by its"
                " vmcoreinfo of another size",
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
        for first in range(at, stop, _PIECE // unit * unit):
            data = os.pread(fd, min(_PIECE // unit * unit, stop - first), first)
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
            raise _damaged(
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
            raise _damaged(
                path,
                f"it ends in the middle of page {torn[0]:,} and of page {torn[1]:,} of"
                f" {count:,}",
            )
    return furthest, [_page_number(fd, bitmap_at, length, rank) for rank in torn]


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
