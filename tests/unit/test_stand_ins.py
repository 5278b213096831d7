# SPDX-License-Identifier: GPL-2.0-or-later
"""What stands for a name with a key is the same everywhere; a report has numbers."""

from __future__ import annotations

import pytest

from pagedbg.analysis.stand_ins import StandIns
from pagedbg.schema.table import Column

KEY = b"0123456789abcdef"


def test_with_a_key_it_is_what_openssl_makes_of_it() -> None:
    # printf 'process nginx' | openssl dgst -sha256 -hmac 0123456789abcdef
    found = StandIns(KEY).stand_in("process", "nginx")
    assert found == "process-499141a5a630"
    assert StandIns(b"another key, as long").stand_in("process", "nginx") != found


def test_with_a_key_what_was_met_before_does_not_matter() -> None:
    others = StandIns(KEY)
    others.learn("host", "nginx")
    comm = Column("comm")
    assert others.value(comm, "nginx") == StandIns(KEY).value(comm, "nginx")
    assert others.text("nginx runs") == f"{others.stand_in('host', 'nginx')} runs"


def test_a_stand_in_is_no_name_itself() -> None:
    names = StandIns(KEY)
    once = names.text("/srv/a at 10.0.0.1 has 0xffffffffc0123456")
    assert names.text(once) == once


@pytest.mark.parametrize("name", ["kind", "zone", "gfp", "release", "stack_id"])
def test_what_is_compared_stays_where_a_process_is_called_so(name: str) -> None:
    names = StandIns(KEY)
    names.learn("process", "slab")
    assert names.value(Column(name), "slab") == "slab"


def test_rows_in_a_cell_are_looked_at() -> None:
    names = StandIns(KEY)
    names.learn("process", "nginx")
    column = Column("recording", "rows", fields=(Column("filter"), Column("n", "int")))
    ((words, count),) = names.value(column, [["--comm nginx", 1]])
    assert words == f"--comm {names.stand_in('process', 'nginx')}"
    assert count == 1
