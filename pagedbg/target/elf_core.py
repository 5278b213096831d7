# SPDX-License-Identifier: GPL-2.0-or-later
"""What the headers of an ELF core say, held against the file before drgn sees them."""

from __future__ import annotations

import errno
import functools
import os
import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pagedbg.errors import PagedbgError
from pagedbg.target.dump_header import (
    MOST_NOTES,
    PIECE,
    DumpFile,
    bytes_there,
    check_note_texts,
    damaged,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

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

# A segment is a range of memory of the machine, or a run of pages that makedumpfile
# kept of one. drgn and we take some hundred bytes for each.
_MOST_SEGMENTS = 1 << 20

_PAGE = 4096

# A kernel's core has one, or none.
_MOST_SECTIONS = 1 << 16


def recognize_elf(path: str, fd: int, head: bytes, size: int) -> DumpFile:
    """
    Say what an ELF core is, and that its headers can be believed.

    :param head: the first bytes of the file
    :param size: the file's
    :raises PagedbgError: for what drgn should not see, with a sentence
    """
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
    names = _check_notes(path, fd, size, notes)
    holes = _holes(np.concatenate(loads), size) if loads else ()
    # Not the core of a process, which may be QEMU's own.
    bare = b"VMCOREINFO" not in names and (
        b"QEMU" in names or any(each["paddr"].any() for each in loads)
    )
    return DumpFile(
        path,
        "ELF",
        _ELF_MACHINES.get(machine, f"machine {machine}"),
        None,
        holes,
        missing,
        memory=functools.partial(_memory, loads, size) if bare else None,
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
        raise damaged(
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
    step = PIECE // _PHDR.size
    for first in range(0, phnum, step):
        count = min(step, phnum - first)
        data = os.pread(fd, count * _PHDR.size, phoff + first * _PHDR.size)
        if len(data) < count * _PHDR.size:
            raise struct.error
        yield np.frombuffer(data, dtype)


def _check_notes(
    path: str, fd: int, size: int, notes: list[tuple[int, int]]
) -> set[bytes]:
    """Refuse notes that drgn would take much memory for; return their names."""
    if sum(length for _, length in notes) > MOST_NOTES:
        raise damaged(
            path, f"it would have {sum(length for _, length in notes):,} bytes of notes"
        )
    names: set[bytes] = set()
    for offset, length in notes:
        if offset < size:
            names |= check_note_texts(path, os.pread(fd, length, offset))
    return names


def _memory(loads: list[NDArray[Any]], size: int, fd: int) -> Iterator[tuple[int, int]]:
    """
    The ranges of physical addresses that the file has; of segments that share bytes,
    no more than there are.
    """
    left = bytes_there(fd, size)
    for headers in loads:
        for paddr, offset, length in zip(
            *(headers[name].tolist() for name in ("paddr", "offset", "filesz")),
            strict=True,
        ):
            stop = min(offset + length, size)
            for start, end in _written(fd, offset, stop):
                # The rest of a page may be zeroes that were left out.
                end = min(end + _PAGE, stop)
                if left <= 0 or paddr + end - offset > 1 << 64:
                    return
                yield paddr + start - offset, paddr + end - offset
                left -= end - start


def _written(fd: int, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The parts of a range of a file that were written, rather than left out."""
    while start < end:
        try:
            first = os.lseek(fd, start, os.SEEK_DATA)
            start = min(os.lseek(fd, first, os.SEEK_HOLE), end)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            first, start = start, end
        if first < start:
            yield first, start


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
