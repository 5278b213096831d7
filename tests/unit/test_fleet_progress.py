# SPDX-License-Identifier: GPL-2.0-or-later
"""How far an engine has come is said, and never that it has gone back."""

from __future__ import annotations

import threading

from pagedbg.progress import followed
from pagedbg.sources.fleet_progress import followed_query


class Counted:
    """A meter that notes what it is told."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.steps: list[int] = []

    def begin(self, what: str, total: int, unit: str) -> None:
        self.begun.append(f"{what} {total} {unit}".rstrip())

    def advance(self, more: int) -> None:
        self.steps.append(more)

    def end(self) -> None:
        pass

    def hush(self) -> None:
        pass


def test_a_bar_goes_on_only() -> None:
    told = threading.Event()
    # DuckDB says -1 before it knows, and may begin again for a part of the query.
    parts = iter((-0.01, 0.25, 0.1, 0.5))

    def part() -> float:
        found = next(parts, None)
        if found is None:
            told.set()
        return 1.0 if found is None else found

    def ask() -> str:
        assert told.wait(60)
        return "answer"

    meter = Counted()
    with followed(meter):
        assert followed_query(ask, lambda: None, "DuckDB", part) == "answer"
    assert meter.begun == ["asking DuckDB 1000"]
    assert meter.steps[:5] == [0, 250, 0, 250, 500]
