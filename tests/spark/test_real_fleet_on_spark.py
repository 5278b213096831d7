# SPDX-License-Identifier: GPL-2.0-or-later
"""Spark tells of a fleet of guests what DuckDB does: ``make test-fleet``."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from engines import ask_both

pytest.importorskip("pyspark", reason="PySpark is not installed: make test-fleet")

sys.path.insert(0, str(Path(__file__).parents[1] / "vm"))

import real_fleet

pytestmark = pytest.mark.vm

QUESTIONS = (
    "since LAKE '6.12*' --kind kernel --by module",
    "since LAKE '6.12*' --kind kernel",
    f"diff LAKE --before {real_fleet.BEFORE} --after {real_fleet.AFTER} --kind kernel",
    "hosts LAKE --stack leaky_rx_refill",
    "since LAKE '6.12*'",
    "trend LAKE",
)


def test_spark_names_the_driver_that_leaks_too(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    lake, saved, said = map(tmp_path_factory.mktemp, ("lake", "saved", "said"))
    real_fleet.fill_lake(lake, saved)
    drivers, stacks, more, (host,), *_ = ask_both(QUESTIONS, lake, said)
    assert drivers[0]["module"] == "leaky"
    for first in (stacks[0], more[0]):
        assert any(frame.startswith("leaky_rx_refill+") for frame in first["stack"])
    assert host["host"] == "web1"
