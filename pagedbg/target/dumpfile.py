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

import errno
import os
import stat
import struct

from pagedbg.errors import PagedbgError
from pagedbg.target.dump_header import ARCHITECTURES, DumpFile
from pagedbg.target.elf_core import recognize_elf
from pagedbg.target.kdump import recognize_kdump

_FOREIGN = {
    b"makedumpfile": "is a flattened dump: turn it into a file with `makedumpfile -R"
    " FILE`, which reads it from its standard input",
    b"\x1f\x8b": "is compressed with gzip: unpack it first",
    b"\xfd7zXZ\0": "is compressed with xz: unpack it first",
    b"\x28\xb5\x2f\xfd": "is compressed with zstd: unpack it first",
    b"EMiL": "is a LiME image, which carries no vmcoreinfo: it cannot be read",
}


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
            dump = recognize_elf(path, fd, head, size)
        elif head.startswith((b"KDUMP   ", b"DISKDUMP")):
            dump = recognize_kdump(path, fd, head, size)
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
