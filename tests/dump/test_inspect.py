# SPDX-License-Identifier: GPL-2.0-or-later
"""The ``inspect`` command on a dump."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from contextlib import redirect_stdout
from typing import Any

import pytest
from drgn.helpers.linux.mm import pfn_to_page, pfn_to_virt

from pagedbg.errors import PagedbgError, UsageError
from pagedbg.mm.page_owner import page_owner_of_pfn
from pagedbg.mm.page_owner_blocks import for_each_block
from pagedbg.mm.page_state import page_states
from pagedbg.schema.owner_record import ALLOCATED
from pagedbg.schema.settings import Settings
from pagedbg.session import Session
from pagedbg.shell.command import NAMESPACE
from pagedbg.target.target import Target

Run = Callable[[str], str]


@pytest.fixture
def run(sample: Target) -> Run:
    Session(sample, settings=Settings(pager="off")).keep()

    def run(line: str) -> str:
        out = io.StringIO()
        with redirect_stdout(out):
            NAMESPACE.run(sample.prog, line)
        return out.getvalue()

    return run


@pytest.fixture(scope="module")
def block(sample: Target) -> int:
    """The head of an allocated block of several pages."""
    for blocks in for_each_block(sample.prog, ALLOCATED):
        for pfn, order, pages in zip(
            blocks.pfn.tolist(),
            blocks.order.tolist(),
            blocks.pages.tolist(),
            strict=True,
        ):
            if order and pages == 1 << order:
                return int(pfn)
    pytest.skip("no block")


def rows(text: str) -> list[dict[str, Any]]:
    return json.loads(text)  # type: ignore[no-any-return]


def test_one_page(sample: Target, run: Run, block: int) -> None:
    (row,) = rows(run(f"inspect pfn {block:#x} --format json"))
    owner = page_owner_of_pfn(sample.prog, block)
    assert owner is not None
    assert (row["pfn"], row["head"], row["pages"], row["state"]) == (
        block,
        block,
        1,
        "allocated",
    )
    assert (row["order"], row["gfp_mask"], row["pid"], row["tgid"]) == (
        owner.order,
        owner.gfp_mask,
        owner.pid,
        owner.tgid,
    )
    assert (row["comm"], row["ts_ns"], row["handle"]) == (
        owner.comm,
        owner.ts_nsec,
        owner.handle,
    )
    assert row["phys"] == block << 12
    text = run(f"inspect pfn {block}")
    for word in (
        "struct page",
        "pageblock",
        "counts",
        "use",
        "owner: allocated",
        f"order {owner.order}",
        row["gfp"],
        "this is its head",
    ):
        assert word in text


def test_every_way_to_the_same_page(sample: Target, run: Run, block: int) -> None:
    prog = sample.prog
    pfn = block + 1
    expected = rows(run(f"inspect pfn {pfn} --format json"))
    page, virt = pfn_to_page(prog, pfn).value_(), pfn_to_virt(prog, pfn).value_()
    for line, offset, address in (
        (f"page {page:#x}", 0, None),
        (f"page {page:x}", 0, None),
        (f"phys {(pfn << 12) + 5}", 5, None),
        (f"virt {virt + 4095:#x}", 4095, hex(virt + 4095)),
    ):
        asked = {"offset": offset, "address": address}
        (row,) = rows(run(f"inspect {line} --format json"))
        assert {name: row[name] for name in asked} == asked
        assert address is not None or row["object"] is None
        assert [{**row, "offset": 0, "address": None, "object": None}] == expected


def test_ranges(sample: Target, run: Run, block: int) -> None:
    prog = sample.prog
    expected = rows(run(f"inspect pfn {block}+4 --format json"))
    assert [row["pfn"] for row in expected] == list(range(block, block + 4))
    page, virt, phys = (
        pfn_to_page(prog, block).value_(),
        pfn_to_virt(prog, block).value_(),
        block << 12,
    )
    for line in (
        f"pfn {block:#x}-{block + 3:#x}",
        f"page {page:#x}+4",
        f"page {page:#x}-{page + 4 * 64 - 1:#x}",
        f"phys {phys:#x}+{4 << 12}",
        f"virt {virt + 100:#x}-{virt + (4 << 12) - 1:#x}",
    ):
        assert rows(run(f"inspect {line} --format json")) == expected
    assert len(run(f"inspect pfn {block}+4").splitlines()) == 5


def test_all_pages(sample: Target, run: Run) -> None:
    end = sample.prog["max_pfn"].value_()
    found = [
        json.loads(line)
        for line in run(f"inspect pfn 0-{end + 4} --format jsonl").splitlines()
    ]
    assert [row["pfn"] for row in found] == list(range(end + 5))
    assert [row["kind"] for row in found[-5:]] == ["beyond the end"] * 5
    assert found[-1]["state"] is None
    heads = {
        row["pfn"]
        for row in found
        if row["state"] == "allocated" and row["head"] == row["pfn"]
    }
    blocks = {
        int(pfn)
        for piece in for_each_block(sample.prog, ALLOCATED)
        for pfn in piece.pfn
    }
    assert heads <= blocks


def test_never_allocated_is_an_answer(sample: Target, run: Run) -> None:
    for state in page_states(sample.prog, 0, sample.prog["max_pfn"].value_()):
        if state.kind == "reserved":
            assert "never allocated" in run(f"inspect pfn {state.pfn}")
            return


@pytest.mark.parametrize(
    ("line", "error", "says"),
    [
        ("pfn 0xffffffffff", PagedbgError, "beyond the end"),
        ("pfn 99999999999999999999999", PagedbgError, "beyond the end"),
        ("pfn 0-0xffffffffffffff", PagedbgError, "beyond the end"),
        ("phys 0xffffffffffffffff", PagedbgError, "beyond the end"),
        ("page 0x1000", PagedbgError, "not the address of a struct page"),
        ("virt 0x1000", PagedbgError, "no address of the kernel"),
        ("virt 0xffffffffffffff00", PagedbgError, "nothing is mapped"),
        ("virt 0x1ffffffffffffffff", UsageError, "64 bits"),
        ("task 999999 0", PagedbgError, "there is no task 999999"),
        ("task 1", UsageError, "a process id and an address"),
        ("task one 0x1000", UsageError, "is not a process id"),
        ("pfn one", UsageError, "is not a number"),
        ("pfn -5", UsageError, "5"),
        ("pfn 5-1", UsageError, "empty range"),
        ("pfn 1 2", UsageError, "one too many"),
        ("frame 1", UsageError, "frame"),
        ("0xef0", UsageError, "write inspect pfn 0xef0 or inspect phys 0xef0"),
        ("ff00123-ff00124", UsageError, "or inspect phys ff00123-ff00124"),
        ("ffff888001230000", UsageError, "write inspect virt ffff888001230000 or"),
        ("pfm 1", UsageError, "did you mean pfn?"),
        ("pfn", UsageError, "NUMBER"),
    ],
)
def test_refused(run: Run, line: str, error: type[PagedbgError], says: str) -> None:
    with pytest.raises(error, match=says) as caught:
        run(f"inspect {line}")
    assert "bug" not in str(caught.value)
    assert type(caught.value) is error
