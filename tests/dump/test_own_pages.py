# SPDX-License-Identifier: GPL-2.0-or-later
"""pagedbg's own pages, the rings of a recorder, are told from all others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from drgn.helpers.linux.mm import follow_phys
from known import SAMPLE, Ask, Run, asking

from pagedbg.capture.recovery.recover import find_recorders
from pagedbg.schema.event_record import RECORD
from pagedbg.target.opening import open_target


@pytest.fixture(scope="module")
def rings() -> set[int]:
    """The page frames that the header of the rings says that they have."""
    target = open_target(str(SAMPLE))
    ((recorder,), _), prog = find_recorders(target), target.prog
    base = recorder._address(RECORD)[0] - int(recorder.header["slots_at"])
    size = prog["PAGE_SIZE"].value_()
    kernel = prog["init_mm"].address_of_()
    return {
        follow_phys(kernel, address).value_() // size
        for address in range(base, base + int(recorder.header["size"]), size)
    }


@pytest.fixture(scope="module")
def ask() -> Ask:
    return asking(open_target(str(SAMPLE)))


def test_the_pages_of_the_rings_are_a_kind_of_their_own(
    ask: Ask, rings: set[int]
) -> None:
    found = ask("sql \"SELECT pfn FROM pages WHERE kind = 'pagedbg'\"")
    assert {row["pfn"] for row in found} == rings
    # To the counter they are memory of vmalloc(), as ever.
    (counted,) = (
        row for row in ask("memory --section kinds") if row["kind"] == "vmalloc"
    )
    assert counted["counted"] > counted["pages"] and counted["difference"] == 0


def test_no_self_leaves_them_out(ask: Ask, rings: set[int]) -> None:
    def pfns(line: str) -> set[int]:
        return {row["pfn"] for row in ask(f"owners --no-stack {line}")}

    everything, kept = pfns(""), pfns("--no-self")
    assert rings < everything and kept == everything - rings
    for both in ("--kind pagedbg,anon --no-self", "--no-self --kind pagedbg,anon"):
        assert pfns(both) == pfns("--kind anon")
    kinds = {row["kind"]: row["pages"] for row in ask("memory --by kind")}
    assert kinds.pop("pagedbg") == len(rings)
    others = {row["kind"]: row["pages"] for row in ask("memory --by kind --no-self")}
    assert others == kinds


def test_without_them_pageblocks_are_as_free(ask: Ask, rings: set[int]) -> None:
    before, after = ask("blocks"), ask("blocks --no-self")
    assert sum(row["free"] for row in after) == sum(
        row["free"] for row in before
    ) + len(rings)
    assert [row["absent"] for row in after] == [row["absent"] for row in before]
    assert not any("pagedbg" in row["owners"] for row in after)
    # The module holds some pages beside its rings.
    with_, without = (
        {row["module"]: row["pages"] for row in ask(f"blocks --by module {more}")}
        for more in ("", "--no-self")
    )
    assert with_.pop("pagedbg") == len(rings) + without.pop("pagedbg")
    assert without == with_


@pytest.mark.parametrize("full", [(), ("--full",)])
def test_a_snapshot_knows_them_too(
    pagedbg: Run, tmp_path: Path, full: tuple[str, ...], rings: set[int]
) -> None:
    kept = tmp_path / "kept"
    done = pagedbg("--sample", "snapshot", "save", kept, *full)
    assert done.returncode == 0, done.stderr
    line = "owners", "--by", "kind", "--format", "jsonl"
    with_, without = (
        {
            row["kind"]: row["pages"]
            for row in map(
                json.loads,
                pagedbg("--snapshot", kept, *line, *more).stdout.splitlines(),
            )
        }
        for more in ((), ("--no-self",))
    )
    assert with_.pop("pagedbg") == len(rings) and without == with_
    # What the kernel has more than its snapshot is nothing, and of nobody.
    compared = pagedbg(
        "--sample",
        *("diff", str(kept), "--by", "kind", "--no-self"),
        "--format",
        "json",
    )
    assert compared.returncode == 0, compared.stderr
    assert "pagedbg" not in compared.stdout
