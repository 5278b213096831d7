# SPDX-License-Identifier: GPL-2.0-or-later
"""
The sections of a report on a kernel: each asks the commands that answer its question.
"""

from __future__ import annotations

import dataclasses
import datetime
import re
import shlex
from collections.abc import Iterator, Sequence
from typing import Any

from pagedbg.mm.timekeeping import getboottime64
from pagedbg.output.call_tree import call_tree
from pagedbg.output.phrases import or_unknown
from pagedbg.output.report import Listing, Section
from pagedbg.output.treemap import Part, treemap
from pagedbg.schema.columns import STACK
from pagedbg.schema.explanation_columns import each_explained
from pagedbg.schema.sizes import size
from pagedbg.schema.table import Table
from pagedbg.shell.report_answers import Answer, Answers, listing
from pagedbg.sources.slab_sums import SlabSums
from pagedbg.target.links import UNREADABLE

__all__ = ("explanation", "machine", "map_of", "memory", "owners", "suspect_of")

# Orders that are asked for where no failure was logged: a kernel stack or a network
# buffer is of about the first, a huge page of the second.
_ORDERS = ("4", "9")

# What of an explanation is no sentence but rows.
_ROWS = {"zone": "The zones that are asked", "blocks": "Free blocks by order"}

_TOP = 15

# Of a machine that fails again and again.
_LOGGED = 20

# What may be put into a filter as it is.
_PLAIN = re.compile(r"[\w][\w-]*")


def machine(answers: Answers) -> Section:
    """What is looked at."""
    unread: list[str] = []
    answer = answers.ask(["status"], unread)
    offered = answers.ask(["doctor"], [])
    facts: list[tuple[str, str]] = []
    listings, findings = [], []
    if answer is not None:
        (row,) = answer.named
        facts = [(name, str(value)) for name, value in _facts(answers, row) if value]
        findings = list(_died(row))
    if offered is not None:
        listings.append(
            listing("What works here", offered.columns, offered.rows, folded=True)
        )
        unread += [
            f"{each['capability']}: {each['detail']}; {each['cost']}."
            for each in offered.named
            if each["state"] == "no"
        ]
    return Section(
        "machine",
        "The machine",
        "From the kernel's own description of itself: its build, its clock, and what it"
        " has logged of a panic.",
        ["status", "doctor"],
        findings=findings,
        facts=facts,
        listings=listings,
        unread=unread,
    )


def _facts(answers: Answers, row: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    yield "kernel", f"Linux {row['release']}, {row['machine'] or 'unknown machine'}"
    yield "build id", row["build_id"]
    yield "CPUs", or_unknown(row["cpus"])
    yield "booted", _booted(answers)
    up = row["up_ns"]
    yield "up", None if up is None else datetime.timedelta(seconds=up // 10**9)
    yield "target", "the running kernel" if row["live"] else f"a dump, {row['format']}"
    yield "file", row["path"]
    yield "types", f"from {row['types']}"
    yield "panic", row["panic"]
    if None not in (row["pages"], row["page_size"]):
        amount = size(row["pages"] * row["page_size"])
        yield (
            "managed memory",
            f"{amount} in {row['pages']:,} pages of {row['page_size']} bytes",
        )
    yield "nodes", row["nodes"]
    yield "page_owner", "on" if row["page_owner"] else "off"
    recorded = row["recorded"]
    yield "recorded", f"{recorded:,} events" if recorded else ""


def _booted(answers: Answers) -> str | None:
    try:
        seconds = getboottime64(answers.session.prog) // 10**9
    except UNREADABLE:
        return None
    booted = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return f"{booted:%Y-%m-%d %H:%M:%S} UTC"


def _died(row: dict[str, Any]) -> Iterator[str]:
    if row["panic"] is not None:
        yield f"Linux {row['release']} panicked: {row['panic']}."


def memory(answers: Answers) -> Section:
    """Where all memory is."""
    unread: list[str] = []
    answer = answers.ask(["memory"], unread)
    findings: list[str] = []
    words: list[str] = []
    parts, listings = [], []
    if answer is not None:
        kinds = list(answer.named)
        parts = [
            Part(
                f"{each['kind']}, {each['detail']}" if each["detail"] else each["kind"],
                each["pages"],
                f"{size(each['bytes'])}, {each['ram_share']:.1f}%",
                each["kind"],
            )
            for each in kinds
            if each["ram_share"] is not None
        ]
        listings.append(listing("Memory by kind", answer.columns, answer.rows))
        words += answer.closing
        findings += _mostly(kinds)
        for heading, part in answer.parts:
            listings.append(listing(heading.rstrip(":"), part.columns, part.rows))
        findings += _unusual(answer.parts)
        listings += _objects(answers, unread)
    picture = [treemap(parts, "Memory by kind")] if parts else []
    return Section(
        "memory",
        "Where all memory is",
        "Each page is read once from the array of struct page, and told by its flags,"
        " its type, its mapping and the lists it is on. Beside the sums stand the"
        " kernel's own counters with the difference.",
        ["memory"],
        findings=findings,
        words=words,
        listings=[each for each in listings if each.rows],
        pictures=picture,
        unread=unread,
    )


def _objects(answers: Answers, unread: list[str]) -> Iterator[Listing]:
    """Who allocated slab objects, where anything knows."""
    if SlabSums(answers.session, []).known:
        answer = answers.ask(["memory", "--section", "objects"], unread)
        if answer is not None:
            caption = "Slab objects by who allocated them"
            yield listing(caption, answer.columns, answer.rows, top=_TOP)


def _mostly(kinds: Sequence[dict[str, Any]]) -> Iterator[str]:
    """How much is free, and what most of the rest is."""
    free = next((each for each in kinds if each["kind"] == "free"), None)
    if free is not None and free["ram_share"] is not None:
        yield f"{size(free['bytes'])} are free, {free['ram_share']:.1f}% of RAM."
    most = [each for each in kinds if each is not free and each["ram_share"]][:3]
    if most:
        said = ", ".join(
            f"{size(each['bytes'])} {each['kind']}"
            + (f" ({each['detail']})" if each["detail"] else "")
            for each in most
        )
        yield f"Most of the rest: {said}."


def _unusual(parts: Sequence[tuple[str, Answer]]) -> Iterator[str]:
    for _, part in parts:
        for row in part.named:
            if row.get("unusual"):
                yield f"{row['detail']}."


def explanation(
    answers: Answers, failures: Answer | None, unread: list[str]
) -> Section:
    """
    Why the last allocation failed that did, and whether it would now; else whether some
    large ones would.

    :param failures: what ``explain`` lists
    :param unread: what it could not read
    """
    asked = [["explain", "order", *_ORDERS]]
    listings = []
    if failures is not None and failures.rows:
        *_, last = failures.named
        asked = [["explain", str(last["report"])]]
        if last["order"] is not None and last["order"] > 0:
            asked.append(["explain", "order", str(last["order"])])
        listings.append(_logged(failures))
    findings: list[str] = []
    words: list[str] = []
    for command in asked:
        answer = answers.ask(command, unread)
        if answer is None:
            continue
        for rows in each_explained(answer.rows):
            explained = dataclasses.replace(answer, rows=rows)
            named = list(explained.named)
            said = dict.fromkeys(
                row["finding"]
                for row in named
                if row["topic"] not in (*_ROWS, "counter")
            )
            # What is said of several is said once.
            words += [sentence for sentence in said if sentence not in words]
            findings += [row["finding"] for row in named if row["topic"] == "verdict"]
            # Each by itself has the same tables.
            alone = [*command[:2], str(named[0]["order"])] if command[2:] else command
            listings += _explained(explained, " ".join(alone))
    return Section(
        "explanation",
        "Why allocations fail",
        "The checks of the page allocator (mm/page_alloc.c) are made again, with the"
        " zones' free blocks, watermarks and reserves: as the kernel logged them of a"
        " failure, as they are in memory of what would happen now. Who is in the way is"
        " counted over all blocks of that size.",
        [shlex.join(command) for command in asked],
        findings=findings,
        words=words,
        listings=listings,
        unread=unread,
    )


def _logged(failures: Answer) -> Listing:
    """The failures, without the call path of each: that of the last is shown below."""
    kept = [i for i, each in enumerate(failures.columns) if each.kind != "stack"]
    return listing(
        "What was logged",
        [failures.columns[i] for i in kept],
        [[row[i] for i in kept] for row in failures.rows],
        last=_LOGGED,
    )


def _explained(answer: Answer, command: str) -> Iterator[Listing]:
    names = [column.name for column in answer.columns]
    topic, stack = names.index("topic"), names.index("stack")
    shown = [i for i in range(len(names)) if names[i] not in ("topic", "finding")]
    for name, caption in _ROWS.items():
        rows = [[row[i] for i in shown] for row in answer.rows if row[topic] == name]
        if rows:
            yield listing(
                f"{caption} ({command})",
                [answer.columns[i] for i in shown],
                rows,
                folded=name == "blocks",
            )
    paths = [
        [row[stack]] for row in answer.rows if row[topic] == "request" and row[stack]
    ]
    if paths:
        yield listing(f"Who asked ({command})", [STACK], paths)


def suspect_of(failures: Answer | None) -> str | None:
    """The module that the last failed allocation was for, if it has a plain name."""
    if failures is None or not failures.rows:
        return None
    *_, last = failures.named
    module = last["module"]
    return module if module and _PLAIN.fullmatch(module) else None


def map_of(answers: Answers, module: str | None) -> Section:
    """
    What lies where.

    :param module: whose pages are marked
    """
    unread: list[str] = []
    words = []
    command = ["map"]
    if module is not None:
        command += ["--highlight", f"--module {module}"]
        words.append(f"Red cells have at least one page of {module}.")
    picture = answers.picture(command, unread)
    words.append("How much there is of each kind is in the table of all memory.")
    return Section(
        "map",
        "What lies where",
        "The same pages in the order in which they lie in memory: a cell has the colour"
        " of what most of its pages are.",
        [shlex.join(command)],
        words=words if picture is not None else [],
        pictures=[picture] if picture is not None else [],
        unread=unread,
    )


def owners(answers: Answers) -> Section:
    """Who holds pages, by call path."""
    unread: list[str] = []
    command = ["owners", "--by", "module,function,stack"]
    answer = answers.ask(command, unread)
    words: list[str] = []
    findings, listings, calls = [], [], None
    if answer is not None:
        words += answer.closing
    if answer is not None and answer.rows:
        first = next(answer.named)
        module = f" [{first['module']}]" if first["module"] else ""
        findings.append(
            f"Of what is on record one call path holds most, {first['pages']:,} pages"
            f" ({first['share']:.1f}%): {first['function']}{module}."
        )
        calls = call_tree(
            Table.of(answer.columns, answer.rows), inverted=False, allocator=False
        )
        listings.append(
            listing(
                "The call paths that hold most", answer.columns, answer.rows, top=_TOP
            )
        )
    return Section(
        "owners",
        "Who holds pages",
        "page_owner's record of each block that is allocated, summed up by the call"
        " path that allocated it; no page is counted twice. The picture is without"
        " frames of the allocator itself, and without calls with less than a two"
        " thousandth of the whole.",
        [shlex.join(command)],
        findings=findings,
        words=words,
        listings=listings,
        calls=calls,
        unread=unread,
    )
