# SPDX-License-Identifier: GPL-2.0-or-later
"""
What crash(8) has open, for the pagedbg that is run from its prompt.

It is looked for among crash's descriptors, not in its arguments: crash finds files that
nobody named, and unpacks some to where they are deleted at once.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import NamedTuple

from pagedbg.errors import PagedbgError

__all__ = ("CrashSession",)

_DUMPS = (b"KDUMP   ", b"DISKDUMP", b"makedumpfile")
_ELF, _ET_EXEC, _ET_DYN, _ET_CORE = b"\x7fELF", 2, 3, 4

# Where crash reads the running kernel.
_LIVE = ("/proc/kcore", "/dev/mem", "/dev/crash")


class CrashSession(NamedTuple):
    """The dump that a crash has open, None for this kernel, and files with symbols."""

    core: str | None
    symbols: list[str]

    @classmethod
    def above(cls) -> CrashSession:
        """
        What the crash has open that this process is run from. From then on standard
        input is no pipe, but the terminal, or empty.

        :raises PagedbgError: if there is no such crash, or nothing of it can be read
        """
        pid = _crash()
        if pid is None:
            raise PagedbgError(
                "--crash is for crash's prompt: no crash is above this process."
            )
        _leave_input()
        found = list(_open_files(pid))
        cores = [path for path, kind in found if kind == _ET_CORE]
        if len(cores) > 1:
            raise PagedbgError(
                f"crash has {len(cores)} files of a dump open ({', '.join(cores)});"
                " pagedbg reads dumps of one file."
            )
        if not cores and not any(path in _LIVE for path, _ in found):
            raise PagedbgError(
                "crash has nothing open that pagedbg reads: an ELF or kdump file, or"
                " the running kernel."
            )
        symbols = [path for path, kind in found if kind in (_ET_EXEC, _ET_DYN)]
        return cls(cores[0] if cores else None, symbols)


def _crash() -> int | None:
    """The nearest process above this one that is a crash."""
    pid = os.getppid()
    while pid:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # A name may have spaces and parentheses in it.
            before, _, after = file.read().rpartition(b")")
        if before.partition(b"(")[2] == b"crash":
            return pid
        pid = int(after.split()[1])
    return None


def _leave_input() -> None:
    """
    Read nothing from a pipe: an alias has to begin with a command of crash's, whose
    output arrives there.
    """
    if not stat.S_ISFIFO(os.fstat(0).st_mode):
        return
    try:
        fd = os.open("/dev/tty", os.O_RDWR)
    except OSError:
        fd = os.open(os.devnull, os.O_RDONLY)
    os.dup2(fd, 0)
    os.close(fd)


def _descriptors(pid: int) -> Iterator[tuple[str, os.stat_result]]:
    directory = f"/proc/{pid}/fd"
    try:
        for number in sorted(map(int, os.listdir(directory))):
            path = f"{directory}/{number}"
            yield path, os.stat(path)
    except OSError as error:
        raise PagedbgError(
            f"what crash has open cannot be seen: {error.strerror}."
        ) from None


def _open_files(pid: int) -> Iterator[tuple[str, int]]:
    """
    What crash reads, each file once: its path, and which kind of ELF file it is. A dump
    of another format is one as well, a running kernel is none.
    """
    seen = set()
    for path, status in _descriptors(pid):
        named = os.readlink(path)
        if named in _LIVE:
            yield named, 0
        key = status.st_dev, status.st_ino
        if named in _LIVE or not stat.S_ISREG(status.st_mode) or key in seen:
            continue
        seen.add(key)
        kind = _kind(path)
        if kind is not None:
            yield named if _is_at(named, status) else path, kind


def _is_at(path: str, status: os.stat_result) -> bool:
    """Whether a file is at a path still."""
    try:
        return os.path.samestat(os.stat(path), status)
    except OSError:
        return False


def _kind(path: str) -> int | None:
    """What a file says that it is."""
    try:
        with open(path, "rb") as file:
            head = file.read(18)
    except OSError:
        # Opened by one who may do more than this process, or for writing only.
        return None
    if head.startswith(_DUMPS):
        return _ET_CORE
    return int.from_bytes(head[16:18], "little") if head.startswith(_ELF) else None
