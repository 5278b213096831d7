# SPDX-License-Identifier: GPL-2.0-or-later
"""
Numbers of stacks that mean the same in every boot and in every dump.

A handle is a place in one kernel's stack depot: the next boot files the same stack
somewhere else. The numbers here are made of the frames themselves.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = (
    "FRAME",
    "base_name",
    "exact_frame",
    "normal_frame",
    "stack_id",
    "stack_shape",
)

FRAME = re.compile(
    r"(?P<symbol>[^+\s]+)(?P<offset>\+0x[0-9a-f]+)?(?:/0x[0-9a-f]+)?"
    r"(?: \[(?P<module>[^\]\s]+)[^\]]*\])?"
)
"""
``symbol+0xOFFSET/0xSIZE [module BUILDID]``, as the kernel and drgn print it; of a
snapshot or another tool there may be only the symbol.
"""

# What compilers append to the name of a function that they have cloned or cut.
_SUFFIXES = ("isra", "constprop", "part", "cold", "llvm")

# What the kernel, since 6.10, appends to one whose memory is accounted for by its
# caller.
_NOPROF = "_noprof"


def base_name(function: str) -> str:
    """
    Return the name of a function as the source has it.

    >>> base_name("__kmalloc_noprof.constprop.0")
    '__kmalloc'
    """
    parts = function.split(".")
    while len(parts) > 1 and (
        parts[-1] in _SUFFIXES
        or (len(parts) > 2 and parts[-1].isdecimal() and parts[-2] in _SUFFIXES)
    ):
        del parts[-1 if parts[-1] in _SUFFIXES else -2 :]
    return ".".join(part.removesuffix(_NOPROF) for part in parts)


def exact_frame(frame: str) -> str:
    """
    Return what tells a place in the code from every other of the same build.

    >>> exact_frame("do_sys_open+0x57/0x80 [ext4]")
    'do_sys_open+0x57 [ext4]'

    :param frame: ``symbol+0x10/0x80 [module]``, or any other text, which is the place
    """
    match = FRAME.fullmatch(frame)
    if match is None:
        return frame
    return f"{match['symbol']}{match['offset'] or ''}{_module(match)}"


def normal_frame(frame: str) -> str:
    """
    Return the function of a frame: what another build of the kernel has, too.

    >>> normal_frame("copy_process.part.0+0x57/0x80 [ext4]")
    'copy_process [ext4]'

    :param frame: ``symbol+0x10/0x80 [module]``, or any other text, which is returned
    """
    match = FRAME.fullmatch(frame)
    return frame if match is None else base_name(match["symbol"]) + _module(match)


def _module(match: re.Match[str]) -> str:
    return f" [{match['module']}]" if match["module"] else ""


def stack_id(frames: Iterable[str]) -> int:
    """
    Return 64 bits of a hash of a stack, the same in every boot of the same build.

    :param frames: innermost first
    """
    return _hash(map(exact_frame, frames))


def stack_shape(frames: Iterable[str]) -> int:
    """
    Return 64 bits of a hash of the functions of a stack, the same in builds whose call
    paths are the same.

    :param frames: innermost first
    """
    return _hash(map(normal_frame, frames))


def _hash(frames: Iterable[str]) -> int:
    # Here, since most commands start without.
    import hashlib

    text = "\n".join(frames).encode(errors="backslashreplace")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")
