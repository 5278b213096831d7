# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes BTF by hand: blobs with records of each kind."""

from __future__ import annotations

import struct

from hypothesis import strategies as st

INT, PTR, ARRAY, STRUCT, UNION, ENUM, FWD, TYPEDEF, VOLATILE, CONST, RESTRICT = range(
    1, 12
)
FUNC, FUNC_PROTO, VAR, DATASEC, FLOAT, DECL_TAG, TYPE_TAG, ENUM64 = range(12, 20)


class Maker:
    """
    Builds a BTF blob a record at a time; ids count from 1, or on from those of
    ``kernel``, as a module's do.
    """

    def __init__(self, kernel: Maker | None = None) -> None:
        self.kernel = kernel
        # The empty string is the kernel's.
        self.strings = b"" if kernel else b"\0"
        self.records = b""

    def string(self, text: str) -> int:
        """File a string, unless the kernel has it, and return its offset."""
        if not text:
            return 0
        sought = b"\0" + text.encode() + b"\0"
        before = self.kernel.strings if self.kernel else b""
        if not (at := (before + self.strings).find(sought) + 1):
            at = len(before + self.strings)
            self.strings += sought[1:]
        return at

    def add(
        self,
        kind: int,
        name: str = "",
        size_or_type: int = 0,
        *more: int,
        vlen: int = 0,
        flag: bool = False,
    ) -> Maker:
        """Append a record."""
        words = (self.string(name), flag << 31 | kind << 24 | vlen, size_or_type, *more)
        self.records += struct.pack(
            f"<{len(words)}I", *(word & 0xFFFFFFFF for word in words)
        )
        return self

    def blob(self, extra_header: int = 0) -> bytes:
        """The whole."""
        header = struct.pack(
            "<HBBIIIII",
            0xEB9F,
            1,
            0,
            24 + extra_header,
            0,
            len(self.records),
            len(self.records),
            len(self.strings),
        )
        return header + bytes(extra_header) + self.records + self.strings


def changed(data: bytes) -> st.SearchStrategy[bytes]:
    """The same with a few bytes changed."""
    changes = st.lists(
        st.tuples(st.integers(0, len(data) - 1), st.integers(0, 255)),
        min_size=1,
        max_size=8,
    )
    return changes.map(lambda pairs: _with(data, pairs))


def _with(data: bytes, pairs: list[tuple[int, int]]) -> bytes:
    made = bytearray(data)
    for at, byte in pairs:
        made[at] = byte
    return bytes(made)
