# SPDX-License-Identifier: GPL-2.0-or-later
"""
An ELF core made of a dump, uncompressed, so that a test can change what lies at a
physical address.
"""

from __future__ import annotations

import os
import random
import struct
from collections.abc import Callable, Iterable
from pathlib import Path

from drgn import FaultError, Program
from drgn.helpers.linux.mm import follow_phys

PAGE = 4096
_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SEGMENT = struct.Struct("<IIQQQQQQ")
_PT_LOAD, _PT_NOTE = 1, 4


def present_pages(prog: Program) -> list[tuple[int, bytes]]:
    """The physical pages that a dump holds."""
    pages = []
    for pfn in range(prog["max_pfn"].value_()):
        try:
            pages.append((pfn, prog.read(pfn * PAGE, PAGE, True)))
        except FaultError:
            continue
    return pages


def runs(pages: Iterable[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    """Neighbouring pages as one."""
    found: list[tuple[int, list[bytes]]] = []
    for pfn, data in pages:
        if found and found[-1][0] + len(found[-1][1]) == pfn:
            found[-1][1].append(data)
        else:
            found.append((pfn, [data]))
    return [(pfn, b"".join(datas)) for pfn, datas in found]


class ElfCore:
    """
    An ELF core of the memory of a program; where it has no memory, the file says that
    there is some and holds none.
    """

    def __init__(
        self,
        prog: Program,
        path: Path,
        without: Callable[[int], bool] = lambda pfn: False,
    ) -> None:
        """:param without: which page frames to leave out"""
        self.path = path
        self._prog = prog
        self._where: list[tuple[int, int, int]] = []
        note = prog["VMCOREINFO"].string_()
        note += b"\n" * (-len(note) % 4)
        note = struct.pack("<III", 11, len(note), 0) + b"VMCOREINFO\0\0" + note
        parts = runs(
            (pfn, data) for pfn, data in present_pages(prog) if not without(pfn)
        )
        count = 1 + len(parts)
        at = -(-(_HEADER.size + _SEGMENT.size * count) // PAGE) * PAGE
        segments = [_SEGMENT.pack(_PT_NOTE, 0, at, 0, 0, len(note), 0, 0)]
        at += -(-len(note) // PAGE) * PAGE
        following = [pfn for pfn, _ in parts[1:]] + [prog["max_pfn"].value_()]
        for (pfn, data), end in zip(parts, following, strict=True):
            segments.append(
                _SEGMENT.pack(
                    _PT_LOAD, 0, at, 0, pfn * PAGE, len(data), (end - pfn) * PAGE, 0
                )
            )
            self._where.append((pfn * PAGE, len(data), at))
            at += len(data)
        ident = b"\x7fELF\2\1\1" + bytes(9)
        with path.open("wb") as file:
            file.write(
                _HEADER.pack(ident, 4, 62, 1, 0, 64, 0, 0, 64, 56, count, 0, 0, 0)
            )
            file.write(b"".join(segments))
            file.seek(-(-file.tell() // PAGE) * PAGE)
            file.write(note)
            for (_, data), (_, _, offset) in zip(parts, self._where, strict=True):
                file.seek(offset)
                file.write(data)

    def virtual(self, address: int) -> int | None:
        """The file's offset of a kernel address; None if it is not in the file."""
        physical = follow_phys(self._prog["init_mm"].address_of_(), address).value_()
        return next(
            (
                offset + physical - start
                for start, size, offset in self._where
                if start <= physical < start + size
            ),
            None,
        )

    def write(self, address: int, data: bytes) -> list[tuple[int, bytes]]:
        """
        Overwrite kernel memory, as far as the file has it; returns what was there, for
        :meth:`restore`.
        """
        before = []
        with self.path.open("r+b") as file:
            done = 0
            while done < len(data):
                step = min(len(data) - done, PAGE - (address + done) % PAGE)
                offset = self.virtual(address + done)
                if offset is not None:
                    before.append((offset, os.pread(file.fileno(), step, offset)))
                    os.pwrite(file.fileno(), data[done : done + step], offset)
                done += step
        return before

    def noise(self, seed: int, times: int) -> list[tuple[int, bytes]]:
        """
        Overwrite 16 bytes in so many places of the memory; returns what was there, for
        :meth:`restore`.
        """
        choice = random.Random(seed)
        size = self.path.stat().st_size
        before = []
        with self.path.open("r+b") as file:
            for _ in range(times):
                at = choice.randrange(64 * PAGE, size - 64)
                before.append((at, os.pread(file.fileno(), 16, at)))
                os.pwrite(file.fileno(), choice.randbytes(16), at)
        return before

    def restore(self, before: list[tuple[int, bytes]]) -> None:
        """Undo :meth:`write` or :meth:`noise`."""
        with self.path.open("r+b") as file:
            for offset, data in reversed(before):
                os.pwrite(file.fileno(), data, offset)
