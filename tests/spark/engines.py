# SPDX-License-Identifier: GPL-2.0-or-later
"""Both engines, asked the same."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

SAMPLE = Path(__file__).parents[2] / "pagedbg/data/sample.vmcore"


def pagedbg(*words: str | Path, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pagedbg", *words],
        capture_output=True,
        text=True,
        **more,
    )


def ask_both(
    questions: Sequence[str], lake: Path, into: Path, spark: str = "--engine spark"
) -> list[Any]:
    """
    What both engines say to questions, which has to be the same.

    :param questions: lines without ``fleet``, with ``LAKE`` for the lake
    :param into: where the answers are put
    :param spark: the options by which Spark is asked
    """
    ours = _ask(questions, lake, into / "duckdb", "--engine duckdb")
    theirs = _ask(questions, lake, into / "spark", spark)
    for question, one, other in zip(questions, ours, theirs, strict=True):
        assert len(one) == len(other) > 0, question
        for row, same in zip(one, other, strict=True):
            assert row.keys() == same.keys()
            for name, value in row.items():
                if isinstance(value, float):
                    # The last digit is rounded, of sums in another order.
                    value = pytest.approx(value, abs=0.0011)
                assert same[name] == value, question
    return ours


def _ask(questions: Sequence[str], lake: Path, into: Path, options: str) -> list[Any]:
    """Ask all by one process: to start Spark takes longest."""
    into.mkdir()
    words: list[str | Path] = ["-c", SAMPLE]
    files = [into / f"{place}.json" for place in range(len(questions))]
    for question, file in zip(questions, files, strict=True):
        line = question.replace("LAKE", shlex.quote(str(lake)))
        words += ["-e", f"fleet {line} {options} -o {file}"]
    done = pagedbg(*words)
    assert done.returncode == 0, done.stderr
    return [json.loads(file.read_text()) for file in files]
