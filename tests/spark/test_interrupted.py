# SPDX-License-Identifier: GPL-2.0-or-later
"""A long question says how far it has come, and Ctrl-C ends it: ``make test-fleet``."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

pytest.importorskip("pyspark", reason="PySpark is not installed: make test-fleet")

SAMPLE = Path(__file__).parents[2] / "pagedbg/data/sample.vmcore"

# What nobody waits for; and it is one for both engines.
ENDLESS = (
    "SELECT count(*) AS n FROM owners a, owners b, owners c, owners d"
    " WHERE md5(concat(a.comm, b.comm, c.comm, d.comm)) = ''"
)

PROMPT = "pagedbg>"


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[pexpect.spawn[str]]:
    """The prompt, beside a lake of one snapshot."""
    child: pexpect.spawn[str] = pexpect.spawn(
        sys.executable,
        ["-m", "pagedbg", "-c", str(SAMPLE)],
        cwd=tmp_path,
        env={
            **os.environ,
            "TERM": "xterm",
            "XDG_STATE_HOME": str(tmp_path / "state"),
            "PROMPT_TOOLKIT_NO_CPR": "1",
            "PAGER": "cat",
        },
        dimensions=(40, 120),
        encoding="utf-8",
        timeout=300,
    )
    (tmp_path / "lake").mkdir()
    child.expect_exact(PROMPT)
    for line in ("snapshot save all", "fleet add lake all"):
        child.send(f"{line}\r")
        child.expect_exact(PROMPT)
    yield child
    child.close(force=True)


@pytest.mark.parametrize(("engine", "name"), [("duckdb", "DuckDB"), ("spark", "Spark")])
def test_ctrl_c_ends_a_question(
    terminal: pexpect.spawn[str], engine: str, name: str
) -> None:
    terminal.send(f'fleet sql lake "{ENDLESS}" --engine {engine}\r')
    # The bar is there once it is being asked.
    terminal.expect(rf"asking {name}  .*%")
    terminal.sendintr()
    terminal.expect_exact("Interrupted.")
    terminal.expect_exact(PROMPT)
    # Whoever asks next is answered.
    terminal.send(f'fleet sql lake "SELECT 6 * 7 AS n" --engine {engine}\r')
    terminal.expect(r"\n42 *\r")
    terminal.expect_exact(PROMPT)
