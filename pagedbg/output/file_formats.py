# SPDX-License-Identifier: GPL-2.0-or-later
"""Files that are no tables, by the endings of their names: pictures, and stacks."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable

from pagedbg.errors import UsageError
from pagedbg.schema.picture import Picture
from pagedbg.schema.table import Table

__all__ = ("ENDINGS", "PICTURES", "StackOptions", "file_format", "file_writer")


@dataclasses.dataclass(frozen=True)
class StackOptions:
    """
    How a picture of stacks is drawn: whether from the outermost frames inwards, and
    whether with those of the allocator.
    """

    inverted: bool = False
    allocator: bool = False


_Writer = Callable[[Table, str, StackOptions], Iterable[str | bytes]]


def _svg(table: Table, title: str, options: StackOptions) -> Iterable[str]:
    from pagedbg.output.svg import svg

    return (line + "\n" for line in svg(_picture(table, title, options)))


def _png(table: Table, title: str, options: StackOptions) -> Iterable[bytes]:
    from pagedbg.output.png import png

    return (png(_picture(table, title, options)),)


def _picture(table: Table, title: str, options: StackOptions) -> Picture:
    from pagedbg.output.call_tree import call_tree
    from pagedbg.output.icicle import icicle

    if table.picture is not None:
        return table.picture()
    return icicle(call_tree(table, **dataclasses.asdict(options)), title)


def _html(table: Table, title: str, options: StackOptions) -> Iterable[str]:
    from pagedbg.output.call_tree import call_tree
    from pagedbg.output.icicle_page import icicle_page
    from pagedbg.output.over_time_page import over_time_page

    how = dataclasses.asdict(options)
    if table.over_time is not None:
        return (over_time_page(table.over_time(), title, **how),)
    return (icicle_page(call_tree(table, **how), title),)


def _folded(table: Table, title: str, options: StackOptions) -> Iterable[str]:
    from pagedbg.output.stack_files import folded

    return (line + "\n" for line in folded(table))


def _speedscope(table: Table, title: str, options: StackOptions) -> Iterable[str]:
    from pagedbg.output.stack_files import speedscope

    return (speedscope(table, title),)


_WRITERS: dict[str, _Writer] = {
    "svg": _svg,
    "png": _png,
    "html": _html,
    "folded": _folded,
    "speedscope.json": _speedscope,
}

ENDINGS = tuple(_WRITERS)
"""The endings of the names of such files, without the first dot."""


PICTURES = ("svg", "png", "html")
"""Those of them that are pictures."""


def file_format(path: str) -> str | None:
    """Which of :data:`ENDINGS` a name has."""
    name = path.lower()
    return next((each for each in ENDINGS if name.endswith("." + each)), None)


def file_writer(
    table: Table, ending: str, title: str, options: StackOptions
) -> Callable[[], Iterable[bytes]]:
    """
    Return what makes a file of a table, a piece after the other.

    :param ending: one of :data:`ENDINGS`
    :param title: what the table is
    :raises UsageError: if it has nothing that could be in such a file
    """
    stacks = any(column.name == "stack" for column in table.columns)
    if table.picture is not None and ending not in ("svg", "png"):
        raise UsageError(
            f".{ending} is for stacks; a map is written into .svg and .png"
        )
    if table.picture is None and not stacks:
        raise UsageError(
            f".{ending} is for stacks, and there are none in the answer; give --by"
            " stack to a command that sums up"
        )
    return functools.partial(_made, _WRITERS[ending], table, title, options)


def _made(
    writer: _Writer, table: Table, title: str, options: StackOptions
) -> Iterable[bytes]:
    for piece in writer(table, title, options):
        yield (
            piece.encode(errors="backslashreplace") if isinstance(piece, str) else piece
        )
