# SPDX-License-Identifier: GPL-2.0-or-later
"""
What ``contrib/bench/owners`` runs in the guest: the measurements at one number of
pages, printed as one JSON object.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from drgn import Object, Program
from scans import bare_read, obstacles

from pagedbg.mm.page_ext import PageExtRange, for_each_page_ext_range, page_ext_size
from pagedbg.schema.settings import Settings
from pagedbg.session import Session
from pagedbg.shell.command import NAMESPACE
from pagedbg.target.opening import open_target

TEXT = "/sys/kernel/debug/page_owner"
QUERY = "owners --by stack"
# How many processes find the sums where several do.
JOBS = 2
# More to sum up by: more keys are more sums.
BY = ("module,function", "comm,pid", "stack,pid", "stack,pid,comm,order,gfp,zone,age")
# What else looks at all pages.
OTHERS = ("memory", "blocks", "blocks --by function")
PATHS = 64  # FILL_PATHS in fill/fill.c


def seconds(what: Callable[..., object], *args: object) -> float:
    begun = time.perf_counter()
    what(*args)
    return time.perf_counter() - begun


# ---- pagedbg, as a process and in an open session ----


def run(*argv: str) -> str:
    return subprocess.run(argv, stdout=subprocess.PIPE, check=True, text=True).stdout


def peaks(pagedbg: str, query: str = QUERY) -> tuple[int, int]:
    """
    Peak memory of a pagedbg process in bytes: once it has started, and after a query.
    """
    grep = "!grep VmHWM /proc/$PPID/status"
    said = run(
        pagedbg,
        "-e",
        "status -o /dev/null",
        "-e",
        grep,
        "-e",
        f"{query} -o /dev/null",
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
        "owners": f"{QUERY} --jobs 1 -o /dev/null",
        "owners_shared": f"{QUERY} --jobs {JOBS} -o /dev/null",
        "owners_by_order": "owners --by order --jobs 1 -o /dev/null",
        **{by: f"owners --by {by} --jobs 1 -o /dev/null" for by in BY},
        **{name: f"{name} -o /dev/null" for name in OTHERS},
    }
    what: dict[str, Callable[[], object]] = {
        "bare_read": lambda: bare_read(prog),
        **{
            name: functools.partial(NAMESPACE.run, prog, query)
            for name, query in queries.items()
        },
        "explain": lambda: obstacles(Session.of(prog)),
    }
    for each in what.values():
        each()  # imports, and names of the kernel that a session looks up once
    times = [
        {name: seconds(each) for name, each in what.items()} for _ in range(rounds)
    ]
    least: dict[str, Any] = {name: min(one[name] for one in times) for name in what}
    by = {keys: least.pop(keys) for keys in BY}
    others = {name: least.pop(name) for name in (*OTHERS, "explain")}
    return {**least, "by": by, "others": others}


def check(prog: Program, pages: int) -> tuple[int, int]:
    """
    Compare pagedbg's answer with what the module holds; return how many blocks and
    pages there are on record.
    """
    with tempfile.TemporaryDirectory() as directory:
        # A file is put in place when it is whole.
        file = Path(directory, "owners.json")
        NAMESPACE.run(prog, f"{QUERY} -o {file}")
        rows = json.loads(file.read_text())
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


def extended(prog: Program) -> int:
    """How many pages have page_ext."""
    return sum(
        found.end_pfn - found.start_pfn for found in for_each_page_ext_range(prog)
    )


def facts(
    prog: Program, args: argparse.Namespace, blocks: int, pages: int
) -> dict[str, Any]:
    """What was measured, and page-types."""
    return {
        "pages": args.pages,
        "page_ext_pages": extended(prog),
        "page_ext_bytes": extended(prog) * page_ext_size(prog),
        "blocks": blocks,
        "block_pages": pages,
        "page_types": args.page_types and seconds(run, args.page_types),
        "kernel": Path("/proc/sys/kernel/osrelease").read_text().strip(),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--pages", type=int, required=True, help="how many the module holds"
    )
    parser.add_argument("--pagedbg", required=True)
    parser.add_argument("--sort", required=True, help="page_owner_sort")
    parser.add_argument(
        "--session", action="store_true", help="only what takes an open session"
    )
    parser.add_argument("--page-types", help="the kernel's tool of that name")
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

    session = Session(open_target(), settings=Settings(pager="off"))
    session.keep()
    prog = session.prog
    blocks, pages = check(prog, args.pages)
    opened = in_session(prog, args.rounds)
    if args.session:
        json.dump({**facts(prog, args, blocks, pages), **opened}, sys.stdout)
        return
    startup, process = (
        min(seconds(run, args.pagedbg, "-e", command) for _ in range(args.rounds))
        for command in ("status", f"{QUERY} -o /dev/null")
    )
    start, peak = peaks(args.pagedbg)
    others = {name: peaks(args.pagedbg, name)[1] for name in OTHERS}

    ranges = list(for_each_page_ext_range(prog))
    known = extended(prog)
    every = max(known // args.sample, 1)
    objects = seconds(by_objects, prog, ranges, every)
    looked = sum(len(range(found.start_pfn, found.end_pfn, every)) for found in ranges)
    sample = min(args.sample, blocks)
    text_sample = read_text(sample)
    sorted_records = None if args.sort_all else sample
    sort, size = sort_text(args.sort, sorted_records)
    json.dump(
        {
            **facts(prog, args, blocks, pages),
            **opened,
            "startup": startup,
            "process": process,
            "peak_start": start,
            "peak": peak,
            "peaks": others,
            "objects": objects * known / looked,
            "objects_sampled": looked,
            "text": read_text(None) if args.text else None,
            "text_estimate": text_sample * blocks / sample,
            "text_sampled": sample,
            "sort": sort if args.sort_all else sort * blocks / sample,
            "sort_bytes": size,
            "sort_sampled": sorted_records,
        },
        sys.stdout,
    )


if __name__ == "__main__":
    main()
