# SPDX-License-Identifier: GPL-2.0-or-later
"""The stacks of a capture: ``stacks.jsonl``."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Annotated

import msgspec

from pagedbg.schema.recorded_names import Handle

# A stack has 127 frames at most (of a BPF program), and a symbol's name 512 bytes.
_MOST_LINE = 1 << 16
_Frame = Annotated[str, msgspec.Meta(max_length=1024)]

MOST_STACKS = 1 << 30
"""Bytes of all stacks at most: some 700 each, of a million of them."""


class _Stack(msgspec.Struct):
    """A line of ``stacks.jsonl``."""

    handle: Handle
    stack: Annotated[list[_Frame], msgspec.Meta(max_length=256)]


_stack_of = msgspec.json.Decoder(_Stack).decode


class StackFile:
    """
    Where in the file each handle's stack is, as far as the file was looked through: it
    grows while it is recorded.
    """

    def __init__(self) -> None:
        self._at: dict[int, tuple[int, int]] = {}
        self._end = 0

    def __contains__(self, handle: int) -> bool:
        return handle in self._at

    def __iter__(self) -> Iterator[int]:
        return iter(self._at)

    def stack(self, descriptor: int, handle: int) -> list[str]:
        """The stack of a handle that was found, innermost frame first."""
        at, size = self._at[handle]
        return _stack_of(os.pread(descriptor, size, at)).stack

    def look(self, descriptor: int) -> None:
        """
        Find out where the stacks are that were written since.

        :raises ValueError: if the file has more than :data:`MOST_STACKS` bytes, with
            how many
        """
        with open(os.dup(descriptor), "rb") as file:
            size = os.fstat(descriptor).st_size
            if size > MOST_STACKS:
                raise ValueError(size)
            file.seek(self._end)
            while line := file.readline(_MOST_LINE):
                whole = line.endswith(b"\n")
                if not whole and len(line) < _MOST_LINE:
                    break
                if whole:
                    with contextlib.suppress(
                        msgspec.DecodeError, UnicodeDecodeError, RecursionError
                    ):
                        self._at[_stack_of(line).handle] = (self._end, len(line))
                self._end += len(line)
