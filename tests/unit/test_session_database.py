# SPDX-License-Identifier: GPL-2.0-or-later
"""The database of a session: what it cannot hold goes to a directory of our own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from drgn import Program

from pagedbg.session import Session
from pagedbg.shell.failures import explain
from pagedbg.target.target import Target

LARGE = "CREATE TEMP TABLE large AS SELECT range AS a, -range AS b FROM range(3000000)"


@pytest.fixture
def session() -> Iterator[Session]:
    """A session that only its database is asked of."""
    session = Session(Target(Program()))
    yield session
    session.close()


def spilled(session: Session) -> Path:
    """Where the database puts what it cannot hold."""
    ((path,),) = session.db.sql("SELECT current_setting('temp_directory')").fetchall()
    return Path(path)


def test_what_is_too_large_goes_to_a_directory_of_our_own(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    session.db.execute("SET memory_limit = '20MB'")
    session.db.execute(LARGE)
    where = spilled(session)
    assert where.stat().st_mode & 0o77 == 0
    assert any(where.iterdir())
    assert not any(tmp_path.iterdir())
    session.close()
    assert not where.exists()


def test_without_room_the_answer_is_one_sentence(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    session.db.execute("SET memory_limit = '20MB'")
    with pytest.raises(duckdb.OutOfMemoryException) as raised:
        session.db.execute(LARGE)
    assert str(explain(raised.value, "owners")) == (
        "owners: a table is too large for memory, and could not be put into"
        f" {tmp_path}/missing: set TMPDIR to a directory with room"
    )
