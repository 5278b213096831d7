# SPDX-License-Identifier: GPL-2.0-or-later
"""
What can be asked of a fleet, in SQL that DuckDB and Spark both run as it stands.

It is asked of ``owners``, what snapshots have by :data:`OWNER_SUMS`, with their
numbers; of ``stacks``, what :data:`STACK_NAMES` says, once each; and of ``picked``, the
snapshots that are looked at, with ``host``, and what each counts for.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from pagedbg.schema.snapshot_columns import STACK_NAMES

STACKS = """
    SELECT stack_id, min(stack_shape) AS stack_shape, min(module) AS module,
        min("function") AS "function", min(stack) AS stack
    FROM told_stacks WHERE stack_id IS NOT NULL GROUP BY stack_id"""
"""``stacks``: what ``told_stacks`` has of many hosts has to be there once."""

_OF_STACKS = tuple(column.name for column in STACK_NAMES)

# What is less of a host's memory is what summing up gets wrong.
_NOTHING = "0.000000001"


@dataclasses.dataclass(frozen=True)
class Asked:
    """
    What all questions are told: by which columns to sum up; which columns have to be of
    those values that the relation ``chosen_COLUMN`` has, and which of these may be
    unknown; whether a row has a stack as an example; and how to sort, and how many rows
    to give.
    """

    keys: Sequence[str]
    chosen: Mapping[str, bool] = dataclasses.field(default_factory=dict)
    example: bool = False
    sort: str | None = None
    descending: bool = True
    top: int | None = None

    @property
    def of_stacks(self) -> list[str]:
        """The keys that are of stacks."""
        return [name for name in self.keys if name in _OF_STACKS]


def numbered(asked: Asked) -> str:
    """``numbered``: of each stack a number for what its keys are."""
    order = ", ".join(f'"{name}" NULLS LAST' for name in asked.of_stacks)
    return f"SELECT *, dense_rank() OVER (ORDER BY {order}) AS number FROM stacks"


def owners(asked: Asked, ram: int) -> str:
    """
    Who holds how much.

    :param ram: the pages of all hosts
    """
    by_host = _by_host(
        asked, {name: f"sum(o.{name})" for name in ("blocks", "pages", "bytes")}
    )
    sums = {
        "hosts": "count(*)",
        "blocks": "CAST(sum(blocks) AS BIGINT)",
        "pages": "CAST(sum(pages) AS BIGINT)",
        "bytes": "CAST(sum(bytes) AS BIGINT)",
        "share": "100.0 * CAST(sum(pages) AS DOUBLE)"
        " / CAST(sum(sum(pages)) OVER () AS DOUBLE)",
        "ram_share": f"100.0 * CAST(sum(pages) AS DOUBLE) / {max(ram, 1)}",
    }
    return _answer(asked, by_host, sums, list(sums), "pages")


def growth(asked: Asked) -> str:
    """Who holds more on the days of ``side`` 1 of ``picked`` than on those of 0."""
    amounts = [
        (name, side, when)
        for name in ("blocks", "pages", "bytes")
        for side, when in enumerate(("before", "after"))
    ]
    by_host = _by_host(
        asked,
        {
            f"{name}_{when}": f"coalesce(sum(o.{name}) FILTER (WHERE p.side = {side}),"
            " 0)"
            for name, side, when in amounts
        },
    )
    sums = {
        **{
            f"{name}_{when}": f"CAST(sum({name}_{when}) AS BIGINT)"
            for name, _, when in amounts
        },
        "delta_pages": "CAST(sum(pages_after - pages_before) AS BIGINT)",
        "delta_bytes": "CAST(sum(bytes_after - bytes_before) AS BIGINT)",
        "change": "CASE WHEN sum(pages_before) = 0 THEN 'new'"
        " WHEN sum(pages_after) = 0 THEN 'gone'"
        " WHEN sum(pages_after) > sum(pages_before) THEN 'more'"
        " WHEN sum(pages_after) < sum(pages_before) THEN 'less' ELSE 'same' END",
        "hosts_more": "count(*) FILTER (WHERE pages_after > pages_before)",
        "hosts_less": "count(*) FILTER (WHERE pages_after < pages_before)",
    }
    shown = (
        *("pages_before", "pages_after", "delta_pages", "delta_bytes"),
        *("blocks_before", "blocks_after", "change", "hosts_more", "hosts_less"),
    )
    changed = "pages_before <> pages_after OR blocks_before <> blocks_after"
    return _answer(asked, by_host, sums, shown, "delta_pages", changed)


def since(asked: Asked, changed: int, compared: bool) -> str:
    """
    Whose share of memory has grown with a kernel. What a page is of what hosts hold on
    average ``picked`` has as ``share_within`` and ``share_between``, more than 0 with
    the kernel and less without; and as ``evened`` the same of a byte.

    :param changed: how many hosts have had both kernels
    :param compared: whether hosts with and without can be compared, day by day
    """
    by_host = _by_host(
        asked,
        {
            "share_within": "sum(o.pages * p.share_within)",
            "share_between": "sum(o.pages * p.share_between)",
            "evened": "sum(o.bytes * p.evened)",
        },
    )
    borne = f"(hosts_more - hosts_less) / {float(max(changed, 1))}"
    sums = {
        "share_within": "sum(share_within)" if changed else "CAST(NULL AS DOUBLE)",
        "share_between": "sum(share_between)" if compared else "CAST(NULL AS DOUBLE)",
        "bytes_per_host": "CAST(round(sum(evened)) AS BIGINT)",
        "hosts_more": f"count(*) FILTER (WHERE share_within > {_NOTHING})",
        "hosts_less": f"count(*) FILTER (WHERE share_within < -{_NOTHING})",
    }
    evidence = "least(share_within, share_between)" + (f" * {borne}" if changed else "")
    # What is the same but for how sums are rounded is of one rank.
    evidence = f"round({evidence}, 9)"
    grown = f"least(share_within, share_between) > {_NOTHING}"
    if changed:
        grown += " AND hosts_more > hosts_less"
    return _answer(asked, by_host, sums, list(sums), evidence, grown)


def trend(asked: Asked) -> str:
    """
    Who grows. A straight line goes through what a host held in a boot, all of a host's
    with one slope, and the fleet's is the sum of them. ``picked`` has for ``x`` the
    hours from the mean of the boot, for ``spread`` the sum of their squares over all of
    the host, for ``times`` how many snapshots are of the ``boot``, and ``side`` is 0 on
    the first day and 1 on the last.
    """
    by_time = _by_host(
        asked,
        {"held": "CAST(sum(o.bytes) AS DOUBLE)"},
        ("snapshot", "boot", "x", "spread", "times", "side"),
    )
    keys = _grouped(asked)
    by_host = f"""
        SELECT host, {keys}, max(spread) AS spread, sum(xy) AS xy, sum(yy) AS yy,
            sum(first_bytes) AS first_bytes, sum(last_bytes) AS last_bytes
        FROM (SELECT host, boot, {keys}, max(spread) AS spread, sum(x * held) AS xy,
                sum(held * held) - sum(held) * sum(held) / max(times) AS yy,
                coalesce(sum(held) FILTER (WHERE side = 0), 0) AS first_bytes,
                coalesce(sum(held) FILTER (WHERE side = 1), 0) AS last_bytes
            FROM ({by_time}) t GROUP BY host, boot, {keys}) b
        GROUP BY host, {keys}"""
    straight = "100.0 * sum(xy * xy / nullif(spread, 0)) / nullif(sum(yy), 0)"
    sums = {
        "bytes_per_hour": "CAST(round(sum(xy / nullif(spread, 0))) AS BIGINT)",
        "straightness": straight,
        "hosts_more": "count(*) FILTER (WHERE xy > 0)",
        "hosts_less": "count(*) FILTER (WHERE xy < 0)",
        "first_bytes": "CAST(sum(first_bytes) AS BIGINT)",
        "last_bytes": "CAST(sum(last_bytes) AS BIGINT)",
        "varied": "sum(yy)",
    }
    shown = [name for name in sums if name != "varied"]
    changed = "varied > 0 OR first_bytes <> last_bytes"
    rank = "round(bytes_per_hour * straightness, 3)"
    return _answer(asked, by_host, sums, shown, rank, changed)


def hosts(asked: Asked) -> str:
    """On which hosts there is how much of what is chosen; the keys are left out."""
    query = f"""
        SELECT p.host_name AS host, p."release", p.taken,
            CAST(sum(o.blocks) AS BIGINT) AS blocks,
            CAST(sum(o.pages) AS BIGINT) AS pages,
            CAST(sum(o.bytes) AS BIGINT) AS bytes,
            100.0 * CAST(sum(o.pages) AS DOUBLE) / max(p.ram) AS ram_share
        {_held(asked)} GROUP BY p.host_name, p."release", p.taken"""
    return f"""
        SELECT *, count(*) OVER () AS rows_in_all FROM ({query}) h
        {_ordered(asked, "bytes", ("host",))}"""


def _grouped(asked: Asked) -> str:
    names = [f'"{name}"' for name in asked.keys if name not in _OF_STACKS]
    return ", ".join([*(["number"] if asked.of_stacks else []), *names])


def _held(asked: Asked) -> str:
    """What is to be looked at: owners of the snapshots that were picked."""
    tests = []
    for name, may_be_unknown in asked.chosen.items():
        test = f'o."{name}" IN (SELECT value FROM chosen_{name})'
        tests.append(f'({test} OR o."{name}" IS NULL)' if may_be_unknown else test)
    joined = (
        "LEFT JOIN numbered n ON o.stack_id = n.stack_id" if asked.of_stacks else ""
    )
    where = f"WHERE {' AND '.join(tests)}" if tests else ""
    return f"FROM owners o JOIN picked p ON o.snapshot = p.snapshot {joined} {where}"


def _by_host(asked: Asked, sums: Mapping[str, str], more: Sequence[str] = ()) -> str:
    """Sums by host and key, and by other columns of ``picked``."""
    group = [f'p."{name}"' for name in ("host", *more)]
    if asked.of_stacks:
        group.append("n.number")
    group += [f'o."{name}"' for name in asked.keys if name not in _OF_STACKS]
    made = ", ".join(f"{sql} AS {name}" for name, sql in sums.items())
    by = ", ".join(group)
    return f"SELECT {by}, {made} {_held(asked)} GROUP BY {by}"


def _answer(
    asked: Asked,
    by_host: str,
    sums: Mapping[str, str],
    shown: Iterable[str],
    usual: str,
    wanted: str = "",
) -> str:
    """
    What is made of the sums by host.

    :param usual: what rows are sorted by unless something else is asked
    :param wanted: which rows are given
    """
    made = ", ".join(f'{sql} AS "{name}"' for name, sql in sums.items())
    by = _grouped(asked)
    keys = [
        f'l."{name}"' if name in _OF_STACKS else f's."{name}"' for name in asked.keys
    ]
    columns = [*keys, *(f's."{name}"' for name in shown)]
    columns += ["l.stack AS stack"] if asked.example else []
    named = [*asked.of_stacks, *(["stack"] if asked.example else [])]
    labels = ", ".join(f'min("{name}") AS "{name}"' for name in dict.fromkeys(named))
    joined = (
        f"LEFT JOIN (SELECT number, {labels} FROM numbered GROUP BY number) l"
        " ON s.number = l.number"
        if asked.of_stacks
        else ""
    )
    where = f"WHERE {wanted}" if wanted else ""
    return f"""
        SELECT {", ".join(columns)}, s.rows_in_all
        FROM (SELECT *, count(*) OVER () AS rows_in_all, {usual} AS usual
            FROM (SELECT {by}, {made} FROM ({by_host}) h GROUP BY {by}) g {where}) s
        {joined}
        {_ordered(asked, "s.usual", keys)}"""


def _ordered(asked: Asked, usual: str, keys: Iterable[str]) -> str:
    place = f'"{asked.sort}"' if asked.sort else usual
    order = [f"{place} {'DESC' if asked.descending else 'ASC'}", *keys]
    limit = f"LIMIT {asked.top}" if asked.top else ""
    return f"ORDER BY {', '.join(f'{each} NULLS LAST' for each in order)} {limit}"
