# SPDX-License-Identifier: GPL-2.0-or-later
"""
Find the vmcoreinfo of a dump whose headers have none, as QEMU writes where the guest
has not told it: the kernel keeps the text at the beginning of a page of its own, and
once more as a note (``kernel/vmcore_info.c``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from drgn import FaultError, Program

from pagedbg.errors import PagedbgError
from pagedbg.target.dump_header import DumpFile, check_page_size, check_vmcoreinfo

__all__ = ("find_vmcoreinfo",)

# What has drgn read physical memory, whichever kernel's it is.
_ANY_KERNEL = (
    b"OSRELEASE=6.12.0\nPAGESIZE=4096\nSYMBOL(swapper_pg_dir)=ffffffff80000000\n"
    b"NUMBER(phys_base)=0\nNUMBER(kimage_voffset)=0\n"
)

_BEGINNING = b"OSRELEASE="

# struct elf_note, of which the name is one of 10 letters.
_NOTE_NAME = b"\x0b\0\0\0", b"VMCOREINFO\0\0"
_NOTE_HEADER = 24

# The least size of pages; those of arm64 are multiples of it.
_PAGE = 4096

# VMCOREINFO_BYTES is a page, and that of 64 KiB at most.
_MOST_BYTES = 1 << 16

_PIECE = 1 << 20

# Older kernels, or dumps in the page cache, may have left theirs in memory.
_MOST_FOUND = 64

# struct uts_namespace begins with what it takes until the release has ended.
_NAMES = 8 + 3 * 65


def find_vmcoreinfo(
    dump: DumpFile, fd: int, open_core: Callable[[bytes], Program]
) -> bytes | None:
    """
    Return the vmcoreinfo of the kernel that a dump is of, if it is in its memory.

    :param fd: the dump
    :param open_core: has drgn open the dump, with a vmcoreinfo
    :return: the text that the kernel's memory agrees with; None if there is none
    """
    found = _texts(open_core(_ANY_KERNEL), dump, fd)
    for text, _ in zip(found, range(_MOST_FOUND), strict=False):
        try:
            check_vmcoreinfo(dump.path, text)
            check_page_size(dump.path, text, dump.page_size)
            if _is_of(open_core(text), text):
                return text
        except (PagedbgError, FaultError):
            continue
        except Exception:
            # drgn has no class of its own for a text that it can make nothing of.
            continue
    return None


def _texts(prog: Program, dump: DumpFile, fd: int) -> Iterator[bytes]:
    """What stands in memory where a vmcoreinfo would."""
    assert dump.memory is not None
    for start, end in dump.memory(fd):
        for at in range(-(-start // _PAGE) * _PAGE, end - _PAGE + 1, _PIECE):
            for page in _begin(prog, at, min(at + _PIECE, end)):
                if text := _text(prog, page):
                    yield text


def _begin(prog: Program, start: int, end: int) -> Iterator[int]:
    """The addresses of pages that begin as one with a vmcoreinfo does."""
    import numpy as np

    pages = (end - start) // _PAGE
    try:
        data = prog.read(start, pages * _PAGE, True)
    except FaultError:
        # The file ends in one of them.
        for at in range(start, start + pages * _PAGE, _PAGE) if pages > 1 else ():
            yield from _begin(prog, at, at + _PAGE)
        return
    words = np.frombuffer(data, "<u4").reshape(pages, -1)
    of_text = np.frombuffer(_BEGINNING[:8], "<u4")
    of_note = np.frombuffer(_NOTE_NAME[1], "<u4")
    begins = (words[:, :2] == of_text).all(axis=1)
    begins |= (words[:, 3:6] == of_note).all(axis=1)
    yield from (start + _PAGE * np.flatnonzero(begins)).tolist()


def _text(prog: Program, at: int) -> bytes:
    """The text that begins in a page; empty if it is something else."""
    data = b""
    try:
        while b"\0" not in data[_NOTE_HEADER:] and len(data) < _MOST_BYTES:
            data += prog.read(at + len(data), _PAGE, True)
    except FaultError:
        # It may end with its page.
        pass
    if data.startswith(_NOTE_NAME[0]):
        data = data[_NOTE_HEADER:]
    text = data.partition(b"\0")[0]
    return text if text.startswith(_BEGINNING) else b""


def _is_of(prog: Program, text: bytes) -> bool:
    """Whether a kernel is the one that says this of itself."""
    symbol = re.search(rb"^SYMBOL\(init_uts_ns\)=([0-9a-f]{1,16})$", text, re.MULTILINE)
    release = re.match(rb"OSRELEASE=([\x21-\x7e]{1,64})\n", text)
    if symbol is None or release is None:
        return False
    return release[1] + b"\0" in prog.read(int(symbol[1], 16), _NAMES)
