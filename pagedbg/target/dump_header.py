# SPDX-License-Identifier: GPL-2.0-or-later
"""What a dump file is said to be by its headers, whichever kind it is."""

from __future__ import annotations

import dataclasses
import os
import re
import stat
import struct
from collections.abc import Callable, Iterator

from drgn import Architecture, FaultError, Platform, Program

from pagedbg.errors import PagedbgError

ARCHITECTURES = {"x86_64": Architecture.X86_64, "aarch64": Architecture.AARCH64}
"""The architectures whose dumps can be read, by ``utsname.machine``."""

USER_DATA = 8

FILTERED = (
    (1, "zero pages"),
    (2, "page cache"),
    (4, "private page cache"),
    (USER_DATA, "user data"),
    (16, "free pages"),
)
"""What each bit of makedumpfile's dump level leaves out."""

# As many bytes of a header are read at once.
PIECE = 4 << 20

# Registers of every CPU, and vmcoreinfo: a few hundred bytes a CPU.
MOST_NOTES = 16 << 20

# VMCOREINFO_BYTES is a page. Its keys are of the size of
# SYMBOL(kallsyms_relative_base).
MOST_VMCOREINFO = 1 << 20

_LONGEST_KEY = 128

# libkdumpfile's MIN_PAGE_SIZE and MAX_PAGE_SIZE.
PAGE_SIZES = tuple(1 << shift for shift in range(12, 19))


@dataclasses.dataclass(frozen=True)
class DumpFile:
    """
    A dump as its header describes it.

    ``level`` is makedumpfile's dump level (see :data:`FILTERED`), None where the format
    does not say. ``holes`` are ranges of physical (or, with ``virtual`` true, virtual)
    addresses that the file names but holds no bytes of. ``missing`` is how many bytes
    the file is too short. ``torn`` says that libkdumpfile would die of SIGBUS if it
    read one of the holes, in which the file ends: virtual addresses have to be looked
    up by drgn, which comes by :meth:`guard`. ``page_size`` is None where the format
    does not say. ``memory`` is only there where no header has a vmcoreinfo: a function
    of a descriptor that yields the ranges of physical addresses that the file has.
    """

    path: str
    format: str
    machine: str
    level: int | None = None
    holes: tuple[tuple[int, int, bool], ...] = ()
    missing: int = 0
    torn: bool = False
    page_size: int | None = None
    memory: Callable[[int], Iterator[tuple[int, int]]] | None = None

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


def bytes_there(fd: int, size: int) -> int:
    """How many bytes of a file take room on a disk: what was never written does not."""
    mode = os.fstat(fd)
    return min(size, mode.st_blocks * 512) if stat.S_ISREG(mode.st_mode) else size


def damaged(path: str, what: str) -> PagedbgError:
    """The error that says so."""
    return PagedbgError(f"{path} is damaged: {what}.")


def check_vmcoreinfo(path: str, text: bytes) -> None:
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
        raise damaged(path, "its vmcoreinfo is no text of a kernel's")


def check_note_texts(
    path: str, data: bytes, page_size: int | None = None
) -> set[bytes]:
    """
    Check what vmcoreinfo is in some notes (``Elf64_Nhdr``), as far as they make sense.

    :return: the names of the notes
    """
    at = 0
    names = set()
    while at + 12 <= len(data):
        name_size, size, _ = struct.unpack_from("<III", data, at)
        name = data[at + 12 : at + 12 + name_size].rstrip(b"\0")
        at += 12 + -(-name_size // 4) * 4
        names.add(name)
        if name == b"VMCOREINFO":
            check_vmcoreinfo(path, data[at : at + size])
            check_page_size(path, data[at : at + size], page_size)
        elif page_size is not None and b"Xen" in name:
            raise PagedbgError(f"{path} is a dump of a Xen host: it cannot be read.")
        at += -(-size // 4) * 4
    return names


def check_page_size(path: str, vmcoreinfo: bytes, page_size: int | None) -> None:
    """
    Refuse pages of two sizes: libkdumpfile has buffers of one, and reads pages of the
    other into them.
    """
    for said in re.findall(rb"(?:^|\n)PAGESIZE=([^\n\0]*)", vmcoreinfo):
        if page_size is not None and said != b"%d" % page_size:
            raise damaged(
                path,
                f"its pages are of {page_size} bytes by its header, and by its"
                " vmcoreinfo of another size",
            )
