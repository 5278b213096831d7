# SPDX-License-Identifier: GPL-2.0-or-later
"""pagedbg in booted kernels, against what the kernel itself says."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

import polluted
import proc_text
from booted import Live, kernels, pagedbg
from polluted import Holder

# The two CPUs have a batch of folios each for what is to be done with them (``struct
# cpu_fbatches`` of mm/swap.c has six), of FOLIO_BATCH_SIZE folios at most.
ON_THEIR_WAY = 2 * 6 * 31


def comparable(live: Live) -> list[tuple[dict[str, Any], Any]]:
    """
    The kernel's records with our rows of the same page and time: what was allocated
    when both were asked.
    """
    return [
        (live.owners[record.pfn], record)
        for record in live.records
        if live.owners.get(record.pfn, {}).get("ts_ns") == record.ts
    ]


def messages(kmsg: str) -> list[tuple[int, int, str]]:
    """
    Time in microseconds, level and text of what ``/dev/kmsg`` said
    (``Documentation/ABI/testing/dev-kmsg``).
    """
    found = []
    for line in kmsg.splitlines():
        # What follows a message indented says which device it is of.
        if not line.startswith(" "):
            head, _, text = line.partition(";")
            priority, _, time, *_ = head.split(",")
            text = re.sub(
                r"\\x([0-9a-f]{2})", lambda escaped: chr(int(escaped[1], 16)), text
            )
            found.append((int(time), int(priority) & 7, text))
    return found


def numbers(text: str) -> dict[tuple[Any, ...], int]:
    """What /proc/zoneinfo and /proc/pagetypeinfo count, by what it is of."""
    return {
        **{
            (zone, column): number
            for zone, columns in proc_text.zones(text).items()
            for column, number in columns.items()
        },
        **{
            (zone, name, order): number
            for (zone, name), lists in proc_text.free_lists(text).items()
            for order, number in enumerate(lists)
        },
        **{
            (zone, name, "pageblocks"): number
            for (zone, name), number in proc_text.pageblocks(text).items()
        },
    }


def test_most_records_lasted_from_one_look_to_the_next(live: Live) -> None:
    assert len(live.records) > 5000
    assert len(comparable(live)) > 0.8 * len(live.records)


def test_every_record_agrees_with_debugfs_in_every_field_and_stack_line(
    live: Live,
) -> None:
    for row, record in comparable(live):
        ours = (
            row["order"],
            row["gfp_mask"],
            row["gfp"],
            row["pid"],
            row["tgid"],
            row["comm"],
            row["migratetype"],
            row["node"],
        )
        theirs = (
            record.order,
            record.gfp_mask,
            record.gfp,
            record.pid,
            record.tgid,
            record.comm,
            record.migratetype,
            record.node,
        )
        assert ours == theirs, f"page frame {record.pfn:#x}"
        assert tuple(row["stack"]) == record.stack, f"page frame {record.pfn:#x}"
        assert row["zone"] == ("DMA", "DMA32", "Normal")[record.zone], (
            f"page frame {record.pfn:#x}"
        )
        assert row["state"] == "allocated"


def test_the_test_modules_blocks_are_where_it_says(live: Live) -> None:
    for name, (order, pfn, pages) in live.blocks.items():
        if name == "freed":
            continue
        row = live.owners[pfn]
        # split_page() makes pages of their own of a block: the module counts those that
        # it has left.
        assert (row["order"], row["pages"]) == (
            (0, 1) if name == "split" else (order, pages)
        ), name
        assert any("[pagedbg_blocks]" in frame for frame in row["stack"]), name
        assert row["comm"] == "insmod", name


def test_a_block_that_was_split_and_freed_in_part_has_the_rest_of_its_pages(
    live: Live,
) -> None:
    order, pfn, pages = live.blocks["split"]
    rows = [
        live.owners[page]
        for page in range(pfn, pfn + (1 << order))
        if page in live.owners
    ]
    # The page that was freed may have been handed out again at once, to insmod itself.
    rest = [
        row
        for row in rows
        if any(frame.startswith("pagedbg_alloc_split+") for frame in row["stack"])
    ]
    assert [(row["order"], row["pages"]) for row in rest] == [(0, 1)] * pages


def test_inspect_says_of_each_block_what_owners_says(live: Live) -> None:
    assert live.inspected.keys() == {pfn for _, pfn, _ in live.blocks.values()}
    for name, (_, pfn, _) in live.blocks.items():
        if name == "freed":
            continue
        inspected, row = live.inspected[pfn], live.owners[pfn]
        same = (
            "pfn",
            "order",
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
        )
        assert {name: inspected[name] for name in same} == {
            name: row[name] for name in same
        }
        assert inspected["head"] == pfn


def test_status_and_doctor_know_the_kernel(live: Live) -> None:
    answer = live.answers["owners"]
    assert (answer.status, answer.stderr) == (0, "")
    found = re.search(
        rf"Linux {live.kernel.series}\.\S* on (\S+),.*^missing:[^\n]*\n(\S+)\n",
        answer.stdout,
        re.MULTILINE | re.DOTALL,
    )
    assert found, answer.stdout
    assert found[1] == found[2]
    assert "on since boot" in answer.stdout


def test_zones_and_what_is_free_are_as_the_kernel_says(live: Live) -> None:
    answer = live.answers["memory"]
    assert answer.status == 0, answer.stderr
    before, *lines, after = re.split(r"^(\{.*\})\n", answer.stdout, flags=re.MULTILINE)
    rows = [json.loads(line) for line in lines if line]
    ours = {
        **{
            (row["zone"], column): row[column]
            for row in rows
            if "managed" in row
            for column in (*proc_text.ZONE.values(), "lowmem_reserve")
        },
        **{
            (row["zone"], row["migratetype"], row["order"]): row["blocks"]
            for row in rows
            if "order" in row
        },
        **Counter(
            (row["zone"], row["pageblock_migratetype"], "pageblocks")
            for row in rows
            if "pageblock_migratetype" in row
        ),
    }
    earlier, later = numbers(before), numbers(after)
    # Memory comes and goes, but not everywhere within a moment. What has come back to
    # what it was may have been another number in between.
    still = {key: number for key, number in earlier.items() if later[key] == number}
    assert len(still) > 0.7 * len(earlier)
    assert set(ours) <= set(earlier)
    other = {key for key, number in still.items() if ours.get(key, 0) != number}
    assert len(other) < 0.4 * sum(number > 0 for number in still.values())
    assert not {key for key in other if key[1] in ("spanned", "present", "managed")}


def test_who_holds_known_pageblocks_is_counted_exactly(live: Live) -> None:
    answer = live.answers["blocks"]
    assert answer.status == 0, answer.stderr
    rows = [json.loads(line) for line in answer.stdout.splitlines()]
    rows = [row for row in rows if "sole_pageblocks" in row]
    ranks = [row["sole_pageblocks"] for row in rows]
    assert ranks == sorted(ranks, reverse=True)
    mine = polluted_rows(rows)
    blocks = polluted.pageblocks(live.pieces)
    # A slab cache may have all its slabs in one of them.
    assert len(blocks) >= 17
    for name in {piece.owner for piece in live.pieces}:
        held = {block for block, owners in blocks.items() if name in owners}
        alone = {block for block in held if blocks[block] == {name}}
        pages = sum(piece.pages for piece in live.pieces if piece.owner == name)
        assert mine[name][:2] == (len(held), pages)
        # Others may have taken what was given back: of the dump it is known who.
        assert mine[name].sole_pageblocks <= len(alone)


def polluted_rows(rows: list[dict[str, Any]]) -> dict[str, Holder]:
    """What is said of the functions of the module that pollutes."""
    return {
        row["function"]: Holder(row["pageblocks"], row["pages"], row["sole_pageblocks"])
        for row in rows
        if (row["function"] or "").startswith("pollute_")
    }


def test_the_dump_has_the_pageblocks_that_debug_info_finds_held(live: Live) -> None:
    answer = pagedbg("-c", live.core, "blocks", "--by", "function", "--format", "jsonl")
    assert answer.status == 0, answer.stderr
    rows = list(map(json.loads, answer.stdout.splitlines()))
    assert polluted_rows(rows) == polluted.holders(
        live.core, live.kernel.vmlinux, live.pieces
    )


def test_pages_that_a_pipe_refers_to_are_pinned(live: Live) -> None:
    rows = [json.loads(line) for line in live.answers["blocks"].stdout.splitlines()]
    pinned = {row["pfn"]: row for row in rows if "extra_references" in row}
    assert len(live.busy) == 8
    dump = pagedbg("-c", live.core, "blocks", "--pinned", "--format", "jsonl")
    dumped = {row["pfn"]: row for row in map(json.loads, dump.stdout.splitlines())}
    for found in (pinned, dumped):
        assert found.keys() >= live.busy
        for pfn in live.busy:
            row = found[pfn]
            assert (row["kind"], row["extra_references"]) == ("anon", 1)
            assert row["comm"] == "busy"
            (who,) = row["mapped_by"]
            assert who == f"busy ({row['pid']})"
    # Others are on their way from one LRU list to another, and referred to there.
    assert len(dumped) - len(live.busy) <= ON_THEIR_WAY


def test_a_log_that_has_wrapped_is_what_the_kernel_reads_from_it(live: Live) -> None:
    assert live.answers["log"].status == 0, live.answers["log"].stderr
    ours = [
        (row["time_ns"] // 1000, row["level"], row["message"])
        for row in map(json.loads, live.answers["log"].stdout.splitlines())
    ]
    # While the second of the two looked, the oldest messages may have had to go.
    theirs = messages(live.kmsg)
    end = theirs.index(ours[-1]) + 1
    common = min(end, len(ours))
    assert common > 0.99 * len(ours) > 500
    assert ours[-common:] == theirs[end - common : end]
    assert ours[0][2].startswith("filling")
    bad = [json.loads(line) for line in live.answers["bad log"].stdout.splitlines()]
    assert {row["level"] for row in bad} == {0, 1, 2}
    assert {(row["time_ns"] // 1000, row["level"], row["message"]) for row in bad} >= {
        row for row in ours[-common:] if row[1] <= 2
    }


def test_symbols_hidden_by_kptr_restrict_are_found_in_memory(live: Live) -> None:
    answer = live.answers["hidden"]
    assert answer.status == 0
    assert "kptr_restrict" in answer.stderr
    rows = json.loads(answer.stdout)
    assert {row["pfn"] for row in rows} >= {
        pfn for name, (_, pfn, _) in live.blocks.items() if name != "freed"
    }
    for row in rows:
        assert row["stack"] == live.owners[row["pfn"]]["stack"]


def test_root_without_capabilities_is_told_why_the_kernel_refuses(live: Live) -> None:
    answer = live.answers["powerless"]
    assert answer.status == 1
    assert "/proc/kcore" in answer.stderr
    assert answer.stderr.count("\n") == 1


def test_somebody_who_is_not_root_is_told_to_become_root(live: Live) -> None:
    answer = live.answers["nobody"]
    assert answer.status == 1
    assert "Only root can read the memory of the running kernel" in answer.stderr
    assert answer.stderr.count("\n") == 1


def test_the_dump_of_the_guest_holds_the_same_with_debug_info_and_without(
    live: Live,
) -> None:
    for command in (
        "owners --state any --format jsonl",
        "owners --by stack,comm,order --sort stack --format json",
    ):
        without = pagedbg("-c", live.core, "-e", command)
        with_dwarf = pagedbg("-c", live.core, "-s", live.kernel.vmlinux, "-e", command)
        assert (without.status, with_dwarf.status) == (0, 0), (
            without.stderr + with_dwarf.stderr
        )
        assert without.stdout == with_dwarf.stdout
        assert without.stdout.count("\n") > 100


def test_symbols_of_another_kernel_are_refused(live: Live) -> None:
    other = next(
        kernel for kernel in kernels.cached() if kernel.version != live.kernel.version
    )
    answer = pagedbg("-c", live.core, "-s", other.vmlinux, "status")
    assert answer.status == 1
    assert "build id" in answer.stderr
    assert answer.stderr.count("\n") == 1


def test_a_report_has_what_the_kernel_has(live: Live) -> None:
    answer = live.answers["report"]
    assert answer.status == 0, answer.stderr
    page = (live.core.parent / "report.html").read_text(encoding="utf-8")
    assert "bug in pagedbg" not in answer.stderr + page
    assert "<dd>the running kernel</dd>" in page
    assert f"<title>Memory of Linux {live.kernel.series}." in page
    assert re.search("Total: [0-9,]+ pages of RAM", page)
    assert "does not close" not in page
    # Who holds most, by page_owner's own text, has its call path in the picture.
    pages: Counter[str] = Counter()
    for record in live.records:
        functions = [line.split("+")[0] for line in record.stack]
        pages[functions[-1]] += 1 << record.order
    for function, _ in pages.most_common(3):
        assert f'"{function}"' in page


def test_the_dump_still_has_the_blocks(live: Live) -> None:
    answer = pagedbg(
        "-c", live.core, "owners", "--module", "pagedbg_blocks", "--format", "jsonl"
    )
    assert answer.status == 0, answer.stderr
    rows = {row["pfn"]: row for row in map(json.loads, answer.stdout.splitlines())}
    for name, (_, pfn, _) in live.blocks.items():
        if name != "freed":
            assert rows[pfn] == live.owners[pfn]


def test_a_kernel_that_does_not_track_owners(in_a_guest: Any) -> None:
    owners, status, inspect, memory, pools, report = in_a_guest(
        *("owners", "status", "inspect pfn 0x2000"),
        *("memory", "memory --section pools --format json"),
        "report /tmp/report.html",
        page_owner=False,
        append="cma=16M",
    )
    assert owners.status == 1
    assert "page_owner=on" in owners.stderr
    assert owners.stderr.count("\n") == 1
    assert status.status == 0
    assert "page_owner is off" in status.stdout
    assert inspect.status == 0
    assert "page frame 0x2000" in inspect.stdout
    assert "page_owner=on" in inspect.stdout
    assert memory.status == 0, memory.stderr
    assert "NR_FREE_PAGES" in memory.stdout
    assert "does not close" not in memory.stdout
    assert "page_owner=on" in memory.stdout
    # A page without what page_owner would have told.
    assert report.status == 0, report.stderr
    assert re.fullmatch(r"report\.html: \d+\.\d KiB\.\n", report.stdout)
    assert "page_owner=on" in report.stderr
    assert "bug in pagedbg" not in report.stderr
    (cma,) = (row for row in json.loads(pools.stdout) if row["pool"] == "CMA")
    assert (cma["name"], cma["pages"]) == ("reserved", 4096)
    assert 0 < cma["unused"] <= cma["pages"]


def test_a_kernel_that_is_locked_down(in_a_guest: Any) -> None:
    (status,) = in_a_guest("status", append="lockdown=confidentiality")
    assert status.status == 1
    assert "locked down" in status.stderr
    assert status.stderr.count("\n") == 1
