# SPDX-License-Identifier: GPL-2.0-or-later
"""
What of the module back end needs no kernel: the table that it writes, and why a module
cannot be built.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagedbg.capture.backends import kmod_build
from pagedbg.capture.backends.kmod import table_of_orders
from pagedbg.capture.kernel_filter import everything
from pagedbg.errors import PagedbgError
from pagedbg.schema import event_record


def thresholds_of(table: str) -> list[int]:
    """
    What kmod/page_order.c makes of lines: millionths of a per cent, and div_u64(part <<
    32, 100000000).
    """
    made = []
    for number, line in enumerate(table.splitlines()):
        order, part = line.split()
        whole, decimals = part.split(".")
        assert int(order) == number and len(decimals) == 6
        made.append((int(whole) * 1_000_000 + int(decimals) << 32) // 100_000_000)
    return made


@given(
    st.lists(
        st.decimals(0, 100, places=6),
        min_size=event_record.ORDERS,
        max_size=event_record.ORDERS,
    )
)
def test_percentages_reach_the_module_as_they_are(percents: list[float]) -> None:
    thresholds = np.array(
        [int((1 << 32) * float(percent) / 100) for percent in percents], np.uint64
    )
    for told, asked in zip(
        thresholds_of(table_of_orders(thresholds)), thresholds.tolist(), strict=False
    ):
        # Floating point may be off by one in the last of 32 bits.
        assert 0 <= told - asked <= 1


def test_everything_is_a_hundred_per_cent_of_every_order() -> None:
    table = table_of_orders(everything()["threshold"])
    assert table.splitlines() == [f"{order} 100.000000" for order in range(21)]


def test_without_headers_it_is_said_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(PagedbgError, match=r"apt install linux-headers-6\.99-test"):
        kmod_build.build("6.99-test", tmp_path / "build")


@pytest.mark.parametrize("missing", ["make", "gcc"])
def test_without_a_compiler_it_is_said_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    for name in {"make", "gcc"} - {missing}:
        (tmp_path / name).symlink_to("/bin/true")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(PagedbgError, match=f"apt install {missing}"):
        kmod_build.build("6.99-test", tmp_path)


def test_what_make_says_is_the_reason_and_nothing_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "Makefile").write_text(
        "modules:\n\t@echo 'Makefile: error: no such compiler' >&2; exit 1\n"
    )
    with pytest.raises(
        PagedbgError, match="cannot be built: Makefile: error: no such compiler"
    ):
        kmod_build.build("6.99-test", tmp_path)
    assert not list((tmp_path / "cache" / "pagedbg" / "kmod").iterdir())
