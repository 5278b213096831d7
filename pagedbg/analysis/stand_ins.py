# SPDX-License-Identifier: GPL-2.0-or-later
"""
What stands for the names of processes, paths, hosts and addresses where strangers read
on. The same name has the same stand-in throughout; with a key, everywhere.
"""

from __future__ import annotations

import functools
import hmac
import re
from collections.abc import Iterable, Mapping
from typing import Any

from pagedbg.schema.table import Column

__all__ = ("LEAST_ADDRESS", "StandIns")

_COLUMNS: dict[str, str] = {
    **dict.fromkeys(
        ("comm", "owner_comm", "free_comm", "reused_comm", "victim"), "process"
    ),
    **dict.fromkeys(("file", "path", "memcg", "oom_memcg"), "path"),
    "host": "host",
    "boot_id": "boot",
}
"""Columns that hold nothing but such a name."""

_OF_THE_KERNEL = ("module", "function", "owners", "site", "vmalloc")
"""Columns with the kernel's own names, of which no process is one."""

_WORDS = frozenset(
    (
        *("stack_id", "stack_shape", "kind", "zone", "migratetype", "gfp", "age"),
        *("pageblock_migratetype", "state", "release", "build_id", "machine"),
    )
)
"""Columns with what is compared as it stands, even where a process is called so."""

_FILTER = re.compile(r"--(?:comm|memcg)[ =]('[^']*'|\S+)")

_FORMS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("path", re.compile(r"(?<![\w.:<>/])/[^\s'\"(),:;]*[\w*]")),
    ("address", re.compile(r"\b(?:[0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}\b")),
    ("address", re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}\b")),
    ("address", re.compile(r"\b(?:0x[0-9a-fA-F]{9,16}|[0-9a-f]{16})\b")),
)
"""What is known by what it looks like."""

LEAST_ADDRESS = 1 << 40
"""No page frame is as large, and every address of a kernel is."""

# Of 100,000 names, two have one stand-in once in 50,000 times. With more digits it
# would look like an address itself.
_DIGITS = 12


class StandIns:
    """
    The names that were met, each with its stand-in: a number; or, with a key, a hash of
    it, which is the same wherever the key is.
    """

    def __init__(self, key: bytes | None = None) -> None:
        self._key = key
        self._kinds: dict[str, str] = {}
        self._numbers: dict[tuple[str, str], int] = {}
        self._pattern: re.Pattern[str] | None = None

    def learn(self, kind: str, name: str | None) -> None:
        """Look for a name in sentences from now on."""
        if name and name not in self._kinds:
            self._kinds[name] = kind
            self._pattern = None

    def learn_all(self, known: Mapping[str, Iterable[str]]) -> None:
        """Learn names by what they are."""
        for kind, names in known.items():
            for name in names:
                self.learn(kind, name)

    def is_name(self, column: Column) -> bool:
        """Whether a column has nothing but names."""
        return column.name in _COLUMNS

    def learn_column(self, column: Column, values: Iterable[str | None]) -> None:
        """Learn what a column has, if that is names."""
        if self.is_name(column):
            for value in values:
                self.learn(_COLUMNS[column.name], value)

    def stand_in(self, kind: str, name: str) -> str:
        """What stands for a name."""
        if self._key is not None:
            said = f"{kind} {name}".encode(errors="backslashreplace")
            return f"{kind}-{hmac.digest(self._key, said, 'sha256').hex()[:_DIGITS]}"
        kind = self._kinds.get(name, kind)
        of_kind = sum(each == kind for each, _ in self._numbers)
        number = self._numbers.setdefault((kind, name), of_kind + 1)
        return f"({kind} {number})"

    def text(self, text: str) -> str:
        """A sentence with stand-ins."""
        if self._pattern is None:
            # The longest first: it may begin with another.
            words = sorted(self._kinds, key=len, reverse=True)
            each = "|".join(re.escape(word) for word in words)
            self._pattern = re.compile(rf"(?<!\w)(?:{each})(?!\w)" if each else r"(?!)")
        text = _FILTER.sub(self._filter, text)
        text = self._pattern.sub(
            lambda match: self.stand_in(self._kinds[match[0]], match[0]), text
        )
        return self.frame(text)

    def _filter(self, match: re.Match[str]) -> str:
        # A pattern for names; where it lies is known to the expression only.
        start = match.start(1) - match.start()
        return match[0][:start] + self.stand_in("process", match[1].strip("'"))

    def _matched(self, kind: str, match: re.Match[str]) -> str:
        return self.stand_in(kind, match[0])

    def frame(self, text: str) -> str:
        """A line of a stack, in which no name of a process is."""
        for kind, form in _FORMS:
            text = form.sub(functools.partial(self._matched, kind), text)
        return text

    def value(self, column: Column, value: Any) -> Any:
        """A cell; what cannot be told from an address is not known."""
        if value is None or column.name in _WORDS:
            return value
        if self.is_name(column):
            return self.stand_in(_COLUMNS[column.name], value) if value else value
        said = self.frame if column.name in _OF_THE_KERNEL else self.text
        match column.kind:
            case "str":
                return said(str(value))
            case "stack":
                return [self.frame(frame) for frame in value]
            case "list":
                return [said(word) for word in value]
            case "hex":
                return None if value >= LEAST_ADDRESS else value
            case "row":
                return self._row(column, value)
            case "rows":
                return [self._row(column, row) for row in value]
        return value

    def _row(self, column: Column, row: Iterable[Any]) -> list[Any]:
        return [
            self.value(field, value)
            for field, value in zip(column.fields, row, strict=True)
        ]
