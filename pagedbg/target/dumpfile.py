# SPDX-License-Identifier: GPL-2.0-or-later
"""What the bytes of a dump file say before drgn opens it: its format, its architecture, and what was left out of it."""

from __future__ import annotations

import dataclasses
import os
import struct
from collections.abc import Iterator

from drgn import Architecture, FaultError, Platform, Program

from pagedbg.errors import PagedbgError

ARCHITECTURES = {"x86_64": Architecture.X86_64, "aarch64": Architecture.AARCH64}
"""The architectures whose dumps can be read, by ``utsname.machine``."""

# e_machine in include/uapi/linux/elf-em.h, by utsname.machine.
_ELF_MACHINES = {62: "x86_64", 183: "aarch64", 3: "i386", 40: "arm", 21: "ppc64", 22: "s390x", 243: "riscv64", 258: "loongarch64"}
_ET_CORE = 4
_PT_LOAD = 1
_PT_NOTE = 4
_PHDR = struct.Struct("<IIQQQQQQ")
_PAGE_DESC = struct.Struct("<QIIQ")

_FOREIGN = {
    b"makedumpfile": "is a flattened dump: turn it into a file with `makedumpfile -R`",
    b"\x1f\x8b": "is compressed with gzip: unpack it first",
    b"\xfd7zXZ\0": "is compressed with xz: unpack it first",
    b"\x28\xb5\x2f\xfd": "is compressed with zstd: unpack it first",
    b"EMiL": "is a LiME image, which carries no vmcoreinfo: it cannot be read",
}

FILTERED = ((1, "zero pages"), (2, "page cache"), (4, "private page cache"), (8, "user data"), (16, "free pages"))
"""What each bit of makedumpfile's dump level leaves out."""


@dataclasses.dataclass(frozen=True)
class DumpFile:
    """
    A dump as its header describes it.

    ``level`` is makedumpfile's dump level (see :data:`FILTERED`), None where the format does not say. ``holes`` are ranges of physical (or,
    with ``virtual`` true, virtual) addresses that the file names but holds no bytes of. ``missing`` is how many bytes the file is too short.
    """

    path: str
    format: str
    machine: str
    level: int | None = None
    holes: tuple[tuple[int, int, bool], ...] = ()
    missing: int = 0

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
        return f"{self.path} is cut short: its last {self.missing / 2**20:.1f} MiB are missing."

    def guard(self, prog: Program) -> None:
        """
        Make reads of the :attr:`holes` fail.

        drgn reads them as zeroes, which would make "never allocated" of a record that the dump left out.
        """

        def refuse(address: int, count: int, offset: int, physical: bool) -> bytes:
            raise FaultError("not in the dump", address)

        for start, end, virtual in self.holes:
            prog.add_memory_segment(start, end - start, refuse, not virtual)


def recognize(path: str) -> DumpFile:
    """
    Read a dump's header.

    :raises PagedbgError: if the file cannot be read, is no dump, or is one of an architecture that cannot be read
    """
    try:
        with open(path, "rb") as file:
            head = file.read(4096)
            size = os.fstat(file.fileno()).st_size
            if head.startswith(b"\x7fELF"):
                dump = _elf(path, file.fileno(), head, size)
            elif head.startswith((b"KDUMP   ", b"DISKDUMP")):
                dump = _kdump(path, file.fileno(), head)
            else:
                raise PagedbgError(f"{path} {_foreign(head)}.")
    except OSError as error:
        raise PagedbgError(f"{path} cannot be read: {error.strerror}.") from None
    except struct.error:
        raise PagedbgError(f"{path} is cut short: it ends inside its header.") from None
    if dump.machine not in ARCHITECTURES:
        raise PagedbgError(f"{path} is a dump of a {dump.machine} machine; pagedbg reads those of {' and '.join(ARCHITECTURES)}.")
    return dump


def _foreign(head: bytes) -> str:
    if not head:
        return "is empty"
    for magic, sentence in _FOREIGN.items():
        if head.startswith(magic):
            return sentence
    return "is no dump: neither an ELF core nor a kdump file"


def _elf(path: str, fd: int, head: bytes, size: int) -> DumpFile:
    if head[4:6] != b"\2\1":
        raise PagedbgError(f"{path} is not a 64-bit little-endian ELF file: it cannot be read.")
    kind, machine = struct.unpack_from("<HH", head, 16)
    if kind != _ET_CORE:
        raise PagedbgError(f"{path} is an ELF file but no core dump; give debug info with -s.")
    holes: list[tuple[int, int, bool]] = []
    missing = 0
    for p_type, offset, vaddr, paddr, filesz, memsz in _program_headers(fd, head):
        if p_type not in (_PT_LOAD, _PT_NOTE):
            continue
        missing = max(missing, offset + filesz - size)
        present = min(filesz, max(size - offset, 0))
        if p_type == _PT_LOAD and present < memsz:
            holes.append((paddr + present, paddr + memsz, False))
            if vaddr:
                holes.append((vaddr + present, vaddr + memsz, True))
    return DumpFile(path, "ELF", _ELF_MACHINES.get(machine, f"machine {machine}"), None, tuple(holes), missing)


def _program_headers(fd: int, head: bytes) -> Iterator[tuple[int, int, int, int, int, int]]:
    """``(p_type, p_offset, p_vaddr, p_paddr, p_filesz, p_memsz)`` of each program header."""
    phoff, shoff = struct.unpack_from("<QQ", head, 32)
    phentsize, phnum = struct.unpack_from("<HH", head, 54)
    if phnum == 0xFFFF:
        # PN_XNUM: the number is in sh_info of section 0.
        (phnum,) = struct.unpack_from("<I", os.pread(fd, 64, shoff) if shoff < 1 << 63 else b"", 44)
    if phentsize != _PHDR.size or phoff + phentsize * phnum > os.fstat(fd).st_size:
        raise struct.error
    yield from (header[:1] + header[2:7] for header in _PHDR.iter_unpack(os.pread(fd, phentsize * phnum, phoff)))


def _kdump(path: str, fd: int, head: bytes) -> DumpFile:
    # struct disk_dump_header: signature, header_version, struct new_utsname (six strings of 65), ..., block_size, sub_hdr_size,
    # bitmap_blocks; makedumpfile's diskdump_mod.h. The sub header follows in the next block: phys_base, dump_level.
    machine = head[12 + 4 * 65 : 12 + 5 * 65].split(b"\0")[0].decode(errors="replace") or "x86_64"
    block_size, sub_blocks, bitmap_blocks = struct.unpack_from("<iiI", head, 428)
    if not 512 <= block_size <= 1 << 20:
        raise PagedbgError(f"{path} is damaged: its header has a block size of {block_size}.")
    _, level, split = struct.unpack_from("<Qii", os.pread(fd, 16, block_size))
    size = os.fstat(fd).st_size
    # libkdumpfile maps the bitmap, and where the file has none it dies of SIGBUS.
    bitmap_at = (1 + max(sub_blocks, 1)) * block_size
    pages_at = bitmap_at + bitmap_blocks * block_size
    if size < pages_at:
        raise struct.error
    missing = 0 if split else _kdump_missing(fd, size, bitmap_at, pages_at)
    return DumpFile(path, "kdump", machine, level, missing=missing)


def _kdump_missing(fd: int, size: int, bitmap_at: int, pages_at: int) -> int:
    """How many bytes the file is too short for what the last of its page descriptors say."""
    # The second half of the bitmap tells which pages have a descriptor: struct page_desc { off_t offset; u32 size, flags; u64 page_flags; }.
    half = (pages_at - bitmap_at) // 2
    count = int.from_bytes(os.pread(fd, half, bitmap_at + half), "little").bit_count()
    end = pages_at + _PAGE_DESC.size * count
    last = os.pread(fd, _PAGE_DESC.size * min(count, 1 << 16), max(end - (_PAGE_DESC.size << 16), pages_at)) if size >= end else b""
    ends: list[int] = [offset + length for offset, length, _, _ in _PAGE_DESC.iter_unpack(last)]
    return max(size, end, *ends) - size
