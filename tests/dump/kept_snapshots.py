# SPDX-License-Identifier: GPL-2.0-or-later
"""Snapshots of the dumps, and what lines say of both, for tests that compare them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from known import ORDINARY, SAMPLE, Row, Run

__all__ = ("CORES", "Answers", "answers_to", "snapshots_of")

CORES = (ORDINARY, SAMPLE)


class Answers:
    """What lines say of each dump and of its snapshot, asked in one process each."""

    def __init__(self, kept: Mapping[Path, Path], lines: Sequence[str]) -> None:
        self._dumps = {core: _ask(lines, "-c", core) for core in kept}
        self._snapshots = {
            core: _ask(lines, "--snapshot", snapshot) for core, snapshot in kept.items()
        }

    def of_dump(self, core: Path, line: str) -> list[Row]:
        """What a line says of a dump."""
        return self._dumps[core][line]

    def compare(self, core: Path, line: str) -> None:
        """A snapshot says what its dump says."""
        assert self._snapshots[core][line] == self._dumps[core][line]


def _ask(lines: Sequence[str], *option: str | Path) -> dict[str, list[Row]]:
    words = [
        word
        for line in lines
        for word in ("-e", f"{line} --format jsonl", "-e", "!echo end")
    ]
    done = Run()(*option, *words)
    assert done.returncode == 0, done.stderr
    *said, rest = done.stdout.split("end\n")
    assert not rest
    return {
        line: [json.loads(row) for row in part.splitlines()]
        for line, part in zip(lines, said, strict=True)
    }


def snapshots_of(*options: str) -> Any:
    """The fixture ``kept``: a snapshot of each dump, saved with some options."""

    @pytest.fixture(scope="module")
    def kept(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Path]:
        where, made = tmp_path_factory.mktemp("kept"), {}
        for core in CORES:
            made[core] = where / core.stem
            done = Run()("-c", core, "snapshot", "save", *options, made[core])
            assert (done.returncode, done.stderr) == (0, "")
        return made

    return kept


def answers_to(lines: Sequence[str]) -> Any:
    """The fixture ``answers``: what lines say of each dump and of its snapshot."""

    @pytest.fixture(scope="module")
    def answers(kept: dict[Path, Path]) -> Answers:
        return Answers(kept, lines)

    return answers
