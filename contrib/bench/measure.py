# SPDX-License-Identifier: GPL-2.0-or-later
"""
What ``contrib/bench/owners`` runs in the guest: the measurements at one number of
pages, printed as one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from drgn import Object, Program

from pagedbg.mm.page_ext import PageExtRange, for_each_page_ext_range, page_ext_size
from pagedbg.session import Session
from pagedbg.shell.command import NAMESPACE
from pagedbg.target.opening import open_target

TEXT = "/sys/kernel/debug/page_owner"
QUERY = "owners --by stack"
# More to sum up by: more keys are more sums.
BY = ("module,function", "comm,pid", "stack,pid", "stack,pid,comm,order,gfp,zone,age")
PATHS = 64  # FILL_PATHS in fill/fill.c
READ = 1 << 15  # pages; pagedbg reads the records of so many at once


def seconds(what: Callable[..., object], *args: object) -> float:
    begun = time.perf_counter()
    what(*args)
    return time.perf_counter() - begun


# ---- pagedbg, as a process and in an open session ----


def run(*argv: str) -> str:
    return subprocess.run(argv, stdout=subprocess.PIPE, check=True, text=True).stdout


def peaks(pagedbg: str) -> tuple[int, int]:
    """
    Peak memory of a pagedbg process in bytes: once it has started, and after the query.
    """
    grep = "!grep VmHWM /proc/$PPID/status"
    said = run(
        pagedbg,
        "-e",
        "status -o /dev/null",
        "-e",
        grep,
        "-e",
        f"{QUERY} -o /dev/null",
        "-e",
        grep,
    )
    start, end = (int(size) << 10 for size in re.findall(r"VmHWM:\s+(\d+) kB", said))
    return start, end


def in_session(prog: Program, rounds: int) -> dict[str, Any]:
    """
    Seconds that the bare read and the query take in an open session: the least of some
    rounds, in turn. By order there are no stacks to look up, to name and to print,
    which takes as long for a few pages as for many.
    """
    queries = {
        "owners": f"{QUERY} -o /dev/null",
        "owners_by_order": "owners --by order -o /dev/null",
        **{by: f"owners --by {by} -o /dev/null" for by in BY},
    }
    NAMESPACE.run(
        prog, queries["owners"]
    )  # imports, and names of the kernel that a session looks up once
    times = [
        {
            "bare_read": seconds(bare_read, prog),
            **{
                name: seconds(NAMESPACE.run, prog, query)
                for name, query in queries.items()
            },
        }
        for _ in range(rounds)
    ]
    least: dict[str, Any] = {name: min(one[name] for one in times) for name in times[0]}
    by = {keys: least.pop(keys) for keys in BY}
    return {**least, "by": by}


def check(prog: Program, pages: int) -> tuple[int, int]:
    """
    Compare pagedbg's answer with what the module holds; return how many blocks and
    pages there are on record.
    """
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        NAMESPACE.run(prog, f"{QUERY} -o {file.name}")
        rows = json.load(file)
    filled = [
        row
        for row in rows
        if any(frame.startswith("fill_leaf_") for frame in row["stack"])
    ]
    found = sorted((row["blocks"], row["pages"]) for row in filled)
    expected = sorted((len(range(path, pages, PATHS)),) * 2 for path in range(PATHS))
    if found != expected:
        raise SystemExit(
            f"pagedbg found {sum(n for _, n in found)} of {pages} pages, in"
            f" {len(found)} of {PATHS} stacks"
        )
    return sum(row["blocks"] for row in rows), sum(row["pages"] for row in rows)


# ---- what it is compared with ----


def pieces(prog: Program) -> Iterator[tuple[int, int]]:
    """Address and size of each piece of page_ext that pagedbg reads."""
    size = page_ext_size(prog)
    for found in for_each_page_ext_range(prog):
        for pfn in range(found.start_pfn, found.end_pfn, READ):
            yield (
                found.address + size * (pfn - found.start_pfn),
                size * min(READ, found.end_pfn - pfn),
            )


def bare_read(prog: Program) -> None:
    for address, size in pieces(prog):
        prog.read(address, size)


def by_objects(prog: Program, ranges: list[PageExtRange], every: int) -> Counter[int]:
    """
    Count blocks by handle as a drgn script does that reads member by member, looking at
    one of so many pages.
    """
    size, offset = page_ext_size(prog), prog["page_owner_ops"].offset.value_()
    page_ext, page_owner = prog.type("struct page_ext"), prog.type("struct page_owner")
    allocated = 1 << prog["PAGE_EXT_OWNER_ALLOCATED"].value_()
    blocks: Counter[int] = Counter()
    for found in ranges:
        for pfn in range(found.start_pfn, found.end_pfn, every):
            address = found.address + size * (pfn - found.start_pfn)
            if Object(prog, page_ext, address=address).flags.value_() & allocated:
                owner = Object(prog, page_owner, address=address + offset)
                if pfn % (1 << owner.order.value_()) == 0:
                    blocks[owner.handle.value_()] += 1
    return blocks


def read_text(records: int | None, to: str = os.devnull) -> float:
    """
    Seconds to read page_owner's text: some records from its beginning (one a read), or
    all of it.
    """
    if records is None:
        return seconds(run, "sh", "-c", f"cat {TEXT} > {to}")
    return seconds(
        run,
        "dd",
        f"if={TEXT}",
        f"of={to}",
        "bs=4096",
        f"count={records}",
        "status=none",
    )


def sort_text(sort: str, records: int | None) -> tuple[float, int]:
    """
    Seconds that page_owner_sort takes for so many records, and the size of their text.
    """
    with tempfile.TemporaryDirectory() as directory:
        text, result = f"{directory}/text", f"{directory}/sorted"
        read_text(records, text)
        return seconds(
            run, sort, "-m", "--cull=stacktrace", text, result
        ), os.path.getsize(text)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--pages", type=int, required=True, help="how many the module holds"
    )
    parser.add_argument("--pagedbg", required=True)
    parser.add_argument("--sort", required=True, help="page_owner_sort")
    parser.add_argument("--text", action="store_true", help="read all of the text, too")
    parser.add_argument("--sort-all", action="store_true", help="and sort all of it")
    parser.add_argument(
        "--sample",
        type=int,
        required=True,
        help="records, and pages for the loop over Objects",
    )
    parser.add_argument("--rounds", type=int, required=True)
    args = parser.parse_args()
    os.chdir("/")

    session = Session(open_target(), pager=False)
    session.keep()
    prog = session.prog
    blocks, pages = check(prog, args.pages)
    opened = in_session(prog, args.rounds)
    startup, process = (
        min(seconds(run, args.pagedbg, "-e", command) for _ in range(args.rounds))
        for command in ("status", f"{QUERY} -o /dev/null")
    )
    start, peak = peaks(args.pagedbg)

    ranges = list(for_each_page_ext_range(prog))
    known = sum(found.end_pfn - found.start_pfn for found in ranges)
    every = max(known // args.sample, 1)
    objects = seconds(by_objects, prog, ranges, every)
    looked = sum(len(range(found.start_pfn, found.end_pfn, every)) for found in ranges)
    sample = min(args.sample, blocks)
    text_sample = read_text(sample)
    sorted_records = None if args.sort_all else sample
    sort, size = sort_text(args.sort, sorted_records)
    json.dump(
        {
            "pages": args.pages,
            "page_ext_pages": known,
            "page_ext_bytes": known * page_ext_size(prog),
            "blocks": blocks,
            "block_pages": pages,
            **opened,
            "startup": startup,
            "process": process,
            "peak_start": start,
            "peak": peak,
            "objects": objects * known / looked,
            "objects_sampled": looked,
            "text": read_text(None) if args.text else None,
            "text_estimate": text_sample * blocks / sample,
            "text_sampled": sample,
            "sort": sort if args.sort_all else sort * blocks / sample,
            "sort_bytes": size,
            "sort_sampled": sorted_records,
            "kernel": Path("/proc/sys/kernel/osrelease").read_text().strip(),
        },
        sys.stdout,
    )


if __name__ == "__main__":
    main()
