# SPDX-License-Identifier: GPL-2.0-or-later
"""
``owners`` on a dump: every record, stack, count, filter and sum against what drgn with
debug info and plain Python make of the same dump.
"""

from __future__ import annotations

import collections
import csv
import io
import json
import re
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from debugfs_text import Record
from known import DATA, ORDINARY, Block, Oracle, Row, Run, asking

from pagedbg.errors import UsageError
from pagedbg.mm.sched_clock import local_clock
from pagedbg.schema.stack_ids import stack_id
from pagedbg.sources.stack_frames import function_of, module_of
from pagedbg.target.target import Target

Owners = Callable[[str], list[Row]]

COLUMNS = [
    "pfn",
    "order",
    "pages",
    "gfp_mask",
    "gfp",
    "migratetype",
    "zone",
    "node",
    "pid",
    "tgid",
    "comm",
    "ts_ns",
    "handle",
    "stack",
    "state",
    "site",
]
TEXT = {"gfp", "migratetype", "zone", "comm", "state"}
SUMS = ["blocks", "pages", "bytes", "share", "ram_share"]
PAGE = 4096


@pytest.fixture(scope="session")
def owners(sample: Target) -> Owners:
    """The rows of ``owners`` with some options."""
    ask = asking(sample)
    return lambda options: ask(f"owners {options}")


@pytest.fixture(scope="session")
def rows(owners: Owners) -> list[Row]:
    """All blocks that are allocated."""
    return owners("")


@pytest.fixture(scope="session")
def freed(owners: Owners) -> list[Row]:
    """All blocks with pages that were freed."""
    return owners("--state freed")


# ---- every record ----------


def of_oracle(blocks: Iterable[Block]) -> list[tuple[Any, ...]]:
    """Blocks as rows of numbers."""
    names = ("order", "gfp_mask", "pid", "tgid", "comm", "ts_nsec", "handle", "state")
    return [
        (block.pfn, block.pages, *(block.record[name] for name in names))
        for block in blocks
    ]


def of_rows(rows: Iterable[Row]) -> list[tuple[Any, ...]]:
    """The same of what ``owners`` printed."""
    names = (
        "pfn",
        "pages",
        "order",
        "gfp_mask",
        "pid",
        "tgid",
        "comm",
        "ts_ns",
        "handle",
        "state",
    )
    return [tuple(row[name] for name in names) for row in rows]


def test_every_block_is_listed_once_with_all_that_its_record_says(
    rows: list[Row], oracle: Oracle
) -> None:
    assert sorted(of_rows(rows)) == sorted(of_oracle(oracle.blocks()))
    assert len(rows) > 1000


def test_blocks_of_freed_pages_are_listed_the_same_way(
    freed: list[Row], oracle: Oracle
) -> None:
    assert sorted(of_rows(freed)) == sorted(of_oracle(oracle.blocks("freed")))
    assert len(freed) > 100


def test_any_state_is_both(owners: Owners, rows: list[Row], freed: list[Row]) -> None:
    assert of_rows(owners("--state any")) == of_rows(rows) + of_rows(freed)


def test_rows_come_in_order_of_page_frame_numbers(rows: list[Row]) -> None:
    assert [row["pfn"] for row in rows] == sorted(row["pfn"] for row in rows)


def test_no_page_is_counted_twice(rows: list[Row], oracle: Oracle) -> None:
    assert sum(row["pages"] for row in rows) == sum(
        record["state"] == "allocated" for record in oracle.pages.values()
    )


def test_zone_and_node_are_those_that_the_page_lies_in(
    rows: list[Row], oracle: Oracle
) -> None:
    assert {row["zone"] for row in rows} <= {zone["name"] for zone in oracle.zones}
    assert all(row["zone"] == oracle.zone(row["pfn"]) for row in rows)
    assert {row["node"] for row in rows} == {0}


def test_each_stack_has_the_frames_that_drgn_walks_to(
    sample: Target, rows: list[Row], oracle: Oracle
) -> None:
    stacks = {row["handle"]: row["stack"] for row in rows}
    assert len(stacks) > 300
    for handle, frames in stacks.items():
        walked = oracle.stacks[handle]
        assert len(frames) == len(walked), handle
        for frame, (address, _) in zip(frames, walked, strict=True):
            assert address in addresses(sample, frame), (handle, frame, hex(address))


def addresses(target: Target, frame: str) -> set[int]:
    """Every address that a frame as it is printed may stand for."""
    if frame.startswith("0x"):
        return {int(frame, 16)}
    match = re.fullmatch(r"(\S+)\+(0x[0-9a-f]+)/(0x[0-9a-f]+)( \[\w+\])?", frame)
    assert match, frame
    offset, size = int(match[2], 16), int(match[3], 16)
    assert 0 <= offset <= size
    if match[4]:
        assert match[4] == " [pagedbg_blocks]"
        found = [
            symbol.address
            for symbol in module_symbols(target)
            if symbol.name == match[1]
        ]
    else:
        found = [symbol.address for symbol in target.prog.symbols(match[1])]
    return {address + offset for address in found}


def module_symbols(target: Target) -> Any:
    """The symbols of all modules by drgn's own reader."""
    from drgn.helpers.linux.kallsyms import module_kallsyms
    from drgn.helpers.linux.module import for_each_module

    return [
        symbol
        for module in for_each_module(target.prog)
        for symbol in module_kallsyms(module)
    ]


def test_the_kernels_own_text_says_the_same_letter_for_letter(
    rows: list[Row], oracle: Oracle, said_by_the_kernel: list[Record]
) -> None:
    by_key = {(row["pfn"], row["ts_ns"], row["order"]): row for row in rows}
    compared, stacks = 0, 0
    zones = [zone["name"] for zone in oracle.zones]
    for said in said_by_the_kernel:
        row = by_key.get((said.pfn, said.ts, said.order))
        if row is None:
            continue
        compared += 1
        mine = tuple(
            row[name]
            for name in (
                "gfp_mask",
                "gfp",
                "pid",
                "tgid",
                "comm",
                "migratetype",
                "node",
                "zone",
            )
        )
        assert mine == (
            said.gfp_mask,
            said.gfp,
            said.pid,
            said.tgid,
            said.comm,
            said.migratetype,
            said.node,
            zones[said.zone],
        ), said
        assert tuple(row["stack"]) == said.stack, said
        stacks += 1
    # Between the text and the dump lies a moment.
    assert compared >= 0.9 * len(said_by_the_kernel)
    assert stacks > 1000


# ---- the known blocks ----------


@pytest.fixture(scope="session")
def known() -> dict[str, tuple[int, int, int]]:
    """
    (order, pfn, pages still allocated) of each block that the test module in the guest
    holds.
    """
    lines = (DATA / "ordinary.pagedbg_blocks").read_text().split("\n")
    return {
        name: (int(order), int(pfn), int(pages))
        for name, order, pfn, pages in (line.split() for line in lines if line)
    }


@pytest.mark.parametrize(
    "name",
    ["order0", "order3", "order4", "order9", "compound", "tails_freed", "half_freed"],
)
def test_a_block_of_the_test_module_is_found_where_it_says_with_the_pages_it_says(
    rows: list[Row], known: dict[str, tuple[int, int, int]], name: str
) -> None:
    order, pfn, pages = known[name]
    (row,) = [row for row in rows if row["pfn"] == pfn and row["order"] == order]
    assert row["pages"] == pages
    assert row["comm"] == "insmod"
    assert module_of(row["stack"]) == "pagedbg_blocks"
    assert function_of(row["stack"]) == f"pagedbg_alloc_{name}"


def test_a_split_block_of_which_one_page_was_freed_is_three_blocks_of_one_page(
    rows: list[Row], known: dict[str, tuple[int, int, int]]
) -> None:
    _, pfn, pages = known["split"]
    found = [
        row
        for row in rows
        if pfn <= row["pfn"] < pfn + 4 and module_of(row["stack"]) == "pagedbg_blocks"
    ]
    assert [row["pfn"] for row in found] == [pfn, pfn + 2, pfn + 3]
    assert {(row["order"], row["pages"]) for row in found} == {(0, 1)}
    assert pages == 3


def test_a_freed_block_is_no_longer_allocated_and_keeps_its_record(
    rows: list[Row], freed: list[Row], known: dict[str, tuple[int, int, int]]
) -> None:
    order, pfn, _ = known["freed"]
    assert not [row for row in rows if row["pfn"] == pfn and row["order"] == order]
    here = [row for row in freed if row["pfn"] == pfn and row["order"] == order]
    if here:
        # The allocator breaks such a block up last, but nobody can promise it.
        assert function_of(here[0]["stack"]) == "pagedbg_alloc_freed"


# ---- filters ----------

MIDDLE = 0x2A80


def age(row: Row, now: int) -> float:
    """Of an allocation, in seconds."""
    return (now - row["ts_ns"]) / 1e9


def holds(frames: list[str], pattern: str) -> bool:
    """Whether a frame matches."""
    return any(re.search(pattern, frame) for frame in frames)


FILTERS: dict[str, Callable[[Row, int], bool]] = {
    "--orders 3": lambda row, now: row["order"] == 3,
    "--orders 1-2,9": lambda row, now: row["order"] in (1, 2, 9),
    "--orders '>=4'": lambda row, now: row["order"] >= 4,
    "--gfp GFP_KERNEL": lambda row, now: row["gfp_mask"] & 0xCC0 == 0xCC0,
    "--gfp '__GFP_COMP|__GFP_ZERO'": lambda row, now: (
        {"__GFP_COMP", "__GFP_ZERO"} <= set(row["gfp"].split("|"))
    ),
    "--gfp 0xcc0": lambda row, now: row["gfp_mask"] & 0xCC0 == 0xCC0,
    "--migratetype Movable": lambda row, now: row["migratetype"] == "Movable",
    "--migratetype unmovable,reclaimable": lambda row, now: (
        row["migratetype"] in ("Unmovable", "Reclaimable")
    ),
    "--zone DMA": lambda row, now: row["zone"] == "DMA",
    "--zone dma32": lambda row, now: row["zone"] == "DMA32",
    "--zone 'DMA*'": lambda row, now: True,
    "--node 0": lambda row, now: True,
    "--node 1-3": lambda row, now: False,
    "--pid 1": lambda row, now: 1 in (row["pid"], row["tgid"]),
    "--pid 0,2-9": lambda row, now: any(
        n == 0 or 2 <= n <= 9 for n in (row["pid"], row["tgid"])
    ),
    "--comm insmod": lambda row, now: row["comm"] == "insmod",
    "--comm 'kworker/*,sh'": lambda row, now: (
        row["comm"].startswith("kworker/") or row["comm"] == "sh"
    ),
    "--comm nobody": lambda row, now: False,
    "--stack vmalloc": lambda row, now: holds(row["stack"], "vmalloc"),
    "--stack '^copy_process[+]'": lambda row, now: holds(
        row["stack"], "^copy_process[+]"
    ),
    "--stack '[[]pagedbg_'": lambda row, now: holds(row["stack"], r"\[pagedbg_"),
    "--module pagedbg_blocks": lambda row, now: (
        module_of(row["stack"]) == "pagedbg_blocks"
    ),
    "--module '*'": lambda row, now: module_of(row["stack"]) is not None,
    "--age '>30s'": lambda row, now: age(row, now) >= 30,
    "--age '<10s'": lambda row, now: age(row, now) <= 10,
    "--age 10s-40s": lambda row, now: 10 <= age(row, now) <= 40,
    f"--pfns {MIDDLE:#x}": lambda row, now: (
        row["pfn"] <= MIDDLE < row["pfn"] + (1 << row["order"])
    ),
    f"--pfns {MIDDLE:#x}+513": lambda row, now: (
        row["pfn"] < MIDDLE + 513 and row["pfn"] + (1 << row["order"]) > MIDDLE
    ),
    f"--pfns {MIDDLE}-{MIDDLE + 99}": lambda row, now: (
        row["pfn"] < MIDDLE + 100 and row["pfn"] + (1 << row["order"]) > MIDDLE
    ),
    "--orders 0 --comm insmod --gfp GFP_KERNEL --zone DMA32 --stack load_module": (
        lambda row, now: (
            row["order"] == 0
            and row["comm"] == "insmod"
            and row["gfp_mask"] & 0xCC0 == 0xCC0
            and holds(row["stack"], "load_module")
        )
    ),
}


@pytest.mark.parametrize("options", FILTERS)
def test_a_filter_leaves_exactly_the_blocks_that_it_names(
    sample: Target, owners: Owners, rows: list[Row], options: str
) -> None:
    now = local_clock(sample.prog)
    assert owners(options) == [row for row in rows if FILTERS[options](row, now)]


def test_the_filters_are_tried_on_blocks_that_tell_them_apart(
    sample: Target, rows: list[Row]
) -> None:
    now = local_clock(sample.prog)
    nothing = {
        options
        for options, test in FILTERS.items()
        if not any(test(row, now) for row in rows)
    }
    assert nothing == {"--zone DMA", "--node 1-3", "--comm nobody"}


def test_filters_choose_among_freed_pages_too(owners: Owners, freed: list[Row]) -> None:
    assert owners("--state freed --orders 0 --comm sh") == [
        row for row in freed if row["order"] == 0 and row["comm"] == "sh"
    ]


def test_the_sample_was_alive_until_about_the_last_allocation(
    sample: Target, rows: list[Row], freed: list[Row]
) -> None:
    last = max(row["ts_ns"] for row in rows + freed)
    assert 0 <= local_clock(sample.prog) - last < 60 * 10**9


# ---- sums ----------

# Stacks that page_owner made for itself when it started.
OWN_STACKS = {
    "register_dummy_stack": "(allocated by page_owner itself)",
    "register_failure_stack": "(the stack depot was full)",
    "register_early_stack": "(before page_owner was ready)",
}
AGES = ((1, "<1s"), (10, "1s-10s"), (60, "10s-1m"), (600, "1m-10m"))


def bracket(row: Row, now: int) -> str:
    """The name of the age."""
    return next(name for limit, name in AGES if now - row["ts_ns"] < limit * 10**9)


KEYS: dict[str, Callable[[Row, int], Any]] = {
    "order": lambda row, now: row["order"],
    "comm": lambda row, now: row["comm"],
    "pid": lambda row, now: row["pid"],
    "stack": lambda row, now: tuple(row["stack"]),
    "module": lambda row, now: module_of(row["stack"]),
    "function": lambda row, now: (
        OWN_STACKS.get(row["stack"][0].split("+")[0]) or function_of(row["stack"])
    ),
    "gfp": lambda row, now: row["gfp"],
    "migratetype": lambda row, now: row["migratetype"],
    "zone": lambda row, now: row["zone"],
    "node": lambda row, now: row["node"],
    "age": bracket,
}


def summed(
    rows: Iterable[Row], by: list[str], now: int
) -> dict[tuple[Any, ...], tuple[int, int]]:
    """Blocks and pages by key, in a loop."""
    sums: dict[tuple[Any, ...], list[int]] = collections.defaultdict(lambda: [0, 0])
    for row in rows:
        value = sums[tuple(KEYS[name](row, now) for name in by)]
        value[0] += 1
        value[1] += row["pages"]
    return {names: (blocks, pages) for names, (blocks, pages) in sums.items()}


def told(found: list[Row], by: list[str]) -> dict[tuple[Any, ...], tuple[int, int]]:
    """The same of what ``owners --by`` printed."""
    sums = {
        tuple(tuple(row[name]) if name == "stack" else row[name] for name in by): (
            row["blocks"],
            row["pages"],
        )
        for row in found
    }
    assert len(sums) == len(found)
    return sums


@pytest.mark.parametrize(
    "by",
    [
        *KEYS,
        "order,comm",
        "zone,migratetype,order",
        "module,function",
        "comm,stack",
        ",".join(KEYS),
    ],
)
def test_sums_are_those_of_a_loop_over_all_blocks(
    sample: Target, owners: Owners, rows: list[Row], by: str
) -> None:
    names = by.split(",")
    found = owners(f"--by {by}")
    assert told(found, names) == summed(rows, names, local_clock(sample.prog))
    assert list(found[0]) == [*names, *SUMS]
    total = sum(row["pages"] for row in rows)
    for row in found:
        assert row["bytes"] == row["pages"] * PAGE
        assert abs(row["share"] - 100 * row["pages"] / total) <= 0.00501
    assert [row["pages"] for row in found] == sorted(
        (row["pages"] for row in found), reverse=True
    )


def test_filters_come_before_sums(
    sample: Target, owners: Owners, rows: list[Row]
) -> None:
    chosen = [row for row in rows if row["order"] >= 1 and row["comm"] != "sh"]
    chosen = [row for row in chosen if row["comm"] in ("insmod", "swapper/0")]
    assert told(
        owners("--by comm --orders '>=1' --comm insmod,swapper/0"), ["comm"]
    ) == summed(chosen, ["comm"], 0)


def test_sums_of_freed_and_of_all_records(
    owners: Owners, rows: list[Row], freed: list[Row]
) -> None:
    assert told(owners("--by order,comm --state freed"), ["order", "comm"]) == summed(
        freed, ["order", "comm"], 0
    )
    assert told(owners("--by order,comm --state any"), ["order", "comm"]) == summed(
        rows + freed, ["order", "comm"], 0
    )


# ---- top and sort ----------


@pytest.mark.parametrize("count", [1, 7, 100_000])
def test_top_is_the_beginning(owners: Owners, rows: list[Row], count: int) -> None:
    assert owners(f"--top {count}") == rows[:count]
    assert owners(f"--top {count} --by function") == owners("--by function")[:count]


def ordered(found: list[Row], column: str, descending: bool) -> bool:
    """Whether rows are sorted, those without a value last."""
    values = [row[column] for row in found if row[column] is not None]
    return values == sorted(values, reverse=descending) and all(
        row[column] is None for row in found[len(values) :]
    )


@pytest.mark.parametrize("column", [name for name in COLUMNS if name != "stack"])
def test_rows_are_sorted_numbers_from_the_greatest_and_text_from_a_to_z(
    owners: Owners, rows: list[Row], column: str
) -> None:
    chosen = [row for row in rows if row["order"] >= 1]
    for option, descending in (
        (column, column not in TEXT),
        (f"-{column}", column in TEXT),
    ):
        found = owners(f"--orders '>=1' --sort={option}")
        assert ordered(found, column, descending)
        assert sorted(of_rows(found)) == sorted(of_rows(chosen))
        assert [
            row[column] for row in owners(f"--orders '>=1' --sort={option} --top 9")
        ] == [row[column] for row in found[:9]]


@pytest.mark.parametrize("column", ["order", "comm", "zone", *SUMS])
def test_sums_are_sorted_too(owners: Owners, column: str) -> None:
    for option, descending in (
        (column, column not in TEXT),
        (f"-{column}", column in TEXT),
    ):
        found = owners(f"--by order,comm,zone --sort={option}")
        assert ordered(found, column, descending)
        assert len(found) == len(owners("--by order,comm,zone"))


# ---- what scripts rely on ----------


def test_the_columns_of_a_block_and_their_types(
    rows: list[Row], owners: Owners
) -> None:
    for row in rows:
        assert list(row) == COLUMNS
        for name, value in row.items():
            if name == "stack":
                assert isinstance(value, list)
                assert all(isinstance(frame, str) for frame in value)
            elif name == "site":
                # This kernel has no allocation tags.
                assert value is None
            else:
                assert type(value) is (str if name in TEXT else int), name
    assert list(owners("--no-stack --top 1")[0]) == [
        name for name in COLUMNS if name != "stack"
    ]


def test_the_columns_of_sums_and_their_types(owners: Owners) -> None:
    for row in owners("--by stack,order,module"):
        assert list(row) == ["stack", "order", "module", *SUMS]
        assert isinstance(row["stack"], list)
        assert row["module"] is None or isinstance(row["module"], str)
        assert [type(row[name]) for name in ("order", *SUMS)] == [
            int,
            int,
            int,
            int,
            float,
            float,
        ]


def test_every_format_carries_the_same_values(pagedbg: Run, rows: list[Row]) -> None:
    command = ("owners", "--orders", ">=3")
    chosen = [row for row in rows if row["order"] >= 3]
    assert pagedbg.json(*command) == chosen
    lines = pagedbg("-c", ORDINARY, "--format", "jsonl", *command).stdout.splitlines()
    assert [json.loads(line) for line in lines] == chosen
    table = list(
        csv.reader(
            io.StringIO(pagedbg("-c", ORDINARY, "--format", "csv", *command).stdout)
        )
    )
    assert table[0] == COLUMNS
    assert table[1:] == [
        [
            ";".join(row[name])
            if name == "stack"
            else ""
            if row[name] is None
            else str(row[name])
            for name in COLUMNS
        ]
        for row in chosen
    ]


def test_text_shows_a_stack_a_line_a_frame(
    pagedbg: Run, known: dict[str, tuple[int, int, int]]
) -> None:
    done = pagedbg(
        "-c", ORDINARY, "owners", "--pfns", f"{known['order9'][1]:#x}", "--orders", "9"
    )
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert f"{known['order9'][1]:#x}" in lines[1]
    assert any(
        re.fullmatch(r" +pagedbg_alloc_order9\+0x\w+/0x\w+ \[pagedbg_blocks\]", line)
        for line in lines[2:]
    )


def test_nothing_found_is_said_in_text_and_is_empty_for_a_script(pagedbg: Run) -> None:
    command = ("owners", "--comm", "nobody")
    text = pagedbg("-c", ORDINARY, *command)
    assert (text.returncode, text.stderr) == (0, "")
    assert "No block on record matches." in text.stdout
    assert pagedbg.json(*command) == []
    assert pagedbg("-c", ORDINARY, "--format", "jsonl", *command).stdout == ""
    assert pagedbg("-c", ORDINARY, "--format", "csv", *command).stdout.splitlines() == [
        ",".join(COLUMNS)
    ]
    assert pagedbg.json("owners", "--by", "comm", "--comm", "nobody") == []


@pytest.mark.parametrize(
    "options, sentence",
    [
        ("--by nonsense", "--by: 'nonsense' is nothing to sum up by"),
        ("--sort nonsense", "--sort: there is no column 'nonsense'"),
        ("--by order --sort pfn", "--sort: there is no column 'pfn'"),
        ("--sort stack", "--sort: there is no column 'stack'"),
        ("--top 0", "--top: '0' is not a number of rows"),
        ("--top -1", "--top"),
        ("--orders 9-4", "--orders: '9-4'"),
        ("--orders x", "--orders: 'x' names no orders"),
        ("--gfp GFP_NONSENSE", "--gfp: 'GFP_NONSENSE' is no allocation flag"),
        ("--zone Highmem", "--zone: there is no zone 'Highmem' here, only"),
        (
            "--migratetype Sideways",
            "--migratetype: there is no migratetype 'Sideways' here, only",
        ),
        ("--node x", "--node: 'x' is not a number"),
        ("--pid x", "--pid: 'x' is not a number"),
        ("--comm ''", "--comm: a name is missing"),
        ("--stack '('", "--stack: '(' is no regular expression"),
        ("--age yesterday", "--age: 'yesterday' is no time span"),
        ("--pfns zz", "--pfns: 'zz' is not a number"),
        ("--pfns 5-4", "--pfns: '5-4' is an empty range"),
        ("--pfns 0xffffffffffffffff", "--pfns: '0xffffffffffffffff' lies beyond"),
        ("--state gone", "--state"),
        ("--format yaml", "--format"),
        ("--nonsense", "unknown option --nonsense"),
        ("--order 3", "did you mean --orders?"),
        ("nonsense", "unexpected 'nonsense'"),
    ],
)
def test_what_means_nothing_is_refused_and_says_which_option(
    owners: Owners, options: str, sentence: str
) -> None:
    with pytest.raises(UsageError) as refusal:
        owners(options)
    assert str(refusal.value).startswith("owners: ")
    assert sentence in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_stacks_have_numbers_that_mean_the_same_in_every_boot(pagedbg: Run) -> None:
    stacks = {
        f"{stack_id(row['stack']):#018x}": (row["blocks"], row["pages"])
        for row in pagedbg.json("owners", "--by", "stack")
    }
    rows = pagedbg.json("owners", "--by", "stack_id")
    assert {row["stack_id"]: (row["blocks"], row["pages"]) for row in rows} == stacks
    shapes = pagedbg.json("owners", "--by", "stack_shape")
    assert len(shapes) < len(stacks)
    assert sum(row["pages"] for row in shapes) == sum(p for _, p in stacks.values())


@pytest.mark.parametrize(
    "line",
    [
        "owners --by stack --no-stack",
        "owners --by order,stack --no-stack",
        "correlate --leaked --no-stack",
        "correlate --by stack --no-stack",
        "correlate --lifetimes --by stack --no-stack",
    ],
)
def test_stacks_are_not_summed_up_by_and_left_out(line: str) -> None:
    done = Run()("--sample", "-e", line)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "--no-stack leaves out what is summed up by" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    "line", ["owners --by comm --no-stack", "correlate --lifetimes --no-stack"]
)
def test_sums_that_have_no_stacks_may_do_without(line: str) -> None:
    assert Run()("--sample", "-e", line).returncode == 0
