# SPDX-License-Identifier: GPL-2.0-or-later
"""
Which snapshots of a lake a question of the fleet looks at, and what each counts for: of
each host the last of a day.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from pagedbg.errors import PagedbgError, UsageError
from pagedbg.schema.filter_words import parse_names
from pagedbg.sources.lake_index import TABLE

if TYPE_CHECKING:
    import duckdb

_LASTS = f"""
    CREATE OR REPLACE TEMP TABLE lasts AS
    SELECT *, dense_rank() OVER (ORDER BY host) AS host_number FROM {TABLE}
    QUALIFY row_number() OVER (
        PARTITION BY host, date ORDER BY TRY_CAST(taken AS TIMESTAMPTZ) DESC, snapshot
    ) = 1"""

_PAIRS = "SELECT host FROM lasts WHERE date IN (?, ?) GROUP BY host HAVING count(*) = 2"


class Picked(NamedTuple):
    """
    The relation ``picked``: types in SQL by the name of a column, and rows, with the
    snapshot and the number of its host in front. ``facts`` are what a question has to
    know besides, and ``said`` what people should.
    """

    types: Mapping[str, str]
    rows: list[tuple[Any, ...]]
    said: str
    facts: Mapping[str, Any] = {}
    notes: tuple[str, ...] = ()


Pick = Callable[["duckdb.DuckDBPyConnection"], Picked]
"""What picks snapshots, once a lake is indexed."""


def pick_day(date: str | None) -> Pick:
    """
    Pick each host's last snapshot of a day, by default of the last day there is.

    :raises PagedbgError: if there is none
    """

    def pick(db: duckdb.DuckDBPyConnection) -> Picked:
        day = _dates(db, [date] if date else [])[-1]
        rows = db.execute(
            'SELECT snapshot, host_number, host, "release", taken, pages FROM lasts'
            " WHERE date = ?",
            [day],
        ).fetchall()
        types = _types(
            host_name="VARCHAR", release="VARCHAR", taken="VARCHAR", ram="BIGINT"
        )
        return Picked(
            types,
            rows,
            f"{_count(len(rows), 'host')} on {day}.",
            {"ram": sum(row[-1] for row in rows)},
        )

    return pick


def pick_two_days(before: str, after: str) -> Pick:
    """
    Pick the last snapshots of two days, of the hosts that have some on both.

    :raises PagedbgError: if there are none
    """

    def pick(db: duckdb.DuckDBPyConnection) -> Picked:
        if before == after:
            raise UsageError("--before and --after are one day: give two")
        _dates(db, [before, after])
        rows = db.execute(
            "SELECT snapshot, host_number, (date = ?)::BIGINT FROM lasts"
            f" WHERE date IN (?, ?) AND host IN ({_PAIRS})",
            [after, before, after, before, after],
        ).fetchall()
        ((every,),) = db.execute(
            "SELECT count(DISTINCT host) FROM lasts WHERE date IN (?, ?)",
            [before, after],
        ).fetchall()
        both = len(rows) // 2
        if not both:
            raise PagedbgError(f"no host is there both on {before} and on {after}.")
        one = every - both
        return Picked(
            _types(side="BIGINT"),
            rows,
            f"From {before} to {after}: {_count(both, 'host')}.",
            notes=(f"{_count(one, 'host')} on one of the days only: left out.",)
            if one
            else (),
        )

    return pick


def pick_kernels(kernel: str) -> Pick:
    """
    Pick the last snapshots of each day, of hosts with a kernel and without.

    :param kernel: the release, or a pattern as of a shell
    :raises PagedbgError: if there are none of either
    """

    def pick(db: duckdb.DuckDBPyConnection) -> Picked:
        _dates(db, [])
        releases = [
            each
            for (each,) in db.execute('SELECT DISTINCT "release" FROM lasts').fetchall()
        ]
        matches = parse_names(kernel)
        those = [each for each in releases if matches(each)]
        if not those or len(those) == len(releases):
            raise PagedbgError(
                f"{'every' if those else 'no'} host has had {kernel}: there are"
                f" {', '.join(sorted(releases))}."
            )
        # A page counts for what it is of its host's memory, each host for as much as
        # another, and so does each of its days; between hosts, each day for as much as
        # the fewer of those that are compared.
        rows = db.execute(
            """
            WITH sided AS (
                SELECT *, list_contains($those, "release") AS with_it,
                    count(*) FILTER (with_it) OVER (PARTITION BY host) AS host_with,
                    count(*) FILTER (NOT with_it) OVER (PARTITION BY host)
                        AS host_without,
                    count(*) FILTER (with_it) OVER (PARTITION BY date) AS day_with,
                    count(*) FILTER (NOT with_it) OVER (PARTITION BY date)
                        AS day_without,
                    if(with_it, 1.0, -1.0)::DOUBLE AS sign
                FROM lasts
            ), weighed AS (
                SELECT *, least(day_with, day_without) AS weight FROM sided
            ), days AS (
                SELECT sum(weight) AS total FROM (SELECT DISTINCT date, weight
                    FROM weighed)
            ), changed AS (
                SELECT count(DISTINCT host) AS hosts FROM sided
                WHERE host_with > 0 AND host_without > 0
            )
            SELECT snapshot, host_number,
                CASE WHEN host_with > 0 AND host_without > 0 THEN sign * 100 / pages
                    / if(with_it, host_with, host_without) / hosts ELSE 0 END,
                CASE WHEN weight > 0 THEN sign * 100 / pages * weight / total
                    / if(with_it, day_with, day_without) ELSE 0 END,
                CASE WHEN host_with > 0 AND host_without > 0 THEN sign
                    / if(with_it, host_with, host_without) / hosts
                    WHEN hosts = 0 AND weight > 0 THEN sign * weight / total
                    / if(with_it, day_with, day_without) ELSE 0 END,
                hosts, coalesce(total, 0)
            FROM weighed, days, changed WHERE pages > 0""",
            {"those": those},
        ).fetchall()
        changed, compared = (int(each) for each in rows[0][-2:])
        if not changed and not compared:
            raise PagedbgError(
                f"no host has had {kernel} and another, and on no day hosts had"
                " different ones: there is nothing to compare."
            )
        return Picked(
            _types(share_within="DOUBLE", share_between="DOUBLE", evened="DOUBLE"),
            [row[:-2] for row in rows],
            _kernels_said(those, changed, compared),
            {"changed": changed, "compared": compared > 0},
        )

    return pick


def _kernels_said(those: list[str], changed: int, compared: int) -> str:
    kernels = ", ".join(sorted(those))
    within = (
        f"{_count(changed, 'host')} changed to or from {kernels}."
        if changed
        else f"No host changed to or from {kernels}: a difference may be of the hosts."
    )
    between = (
        ""
        if compared
        else " None had another on the same days: what grows with load is in it, too."
    )
    return within + between


def pick_days(db: duckdb.DuckDBPyConnection) -> Picked:
    """
    Pick the last snapshots of all days, with the time since the boot of each.

    :raises PagedbgError: if there are not two days
    """
    dates = _dates(db, [])
    if len(dates) < 2:
        raise PagedbgError(f"only {dates[0]} is there, which tells no trend.")
    rows = db.execute(
        """
        WITH hours AS (
            SELECT *, up_ns / 3.6e12 - avg(up_ns / 3.6e12)
                    OVER (PARTITION BY host, boot_id) AS x,
                dense_rank() OVER (ORDER BY host, boot_id) AS boot,
                count(*) OVER (PARTITION BY host, boot_id) AS times
            FROM lasts WHERE boot_id IS NOT NULL AND up_ns IS NOT NULL
        )
        SELECT snapshot, host_number, boot, x, sum(x * x) OVER (PARTITION BY host),
            times, CASE date WHEN $first THEN 0 WHEN $last THEN 1 ELSE 2 END
        FROM hours""",
        {"first": dates[0], "last": dates[-1]},
    ).fetchall()
    types = _types(
        boot="BIGINT", x="DOUBLE", spread="DOUBLE", times="BIGINT", side="BIGINT"
    )
    hosts = len({row[1] for row in rows})
    said = f"{_count(hosts, 'host')} on {len(dates)} days, from {dates[0]} to"
    return Picked(types, rows, f"{said} {dates[-1]}.")


def _types(**more: str) -> dict[str, str]:
    return {"snapshot": "BIGINT", "host": "BIGINT", **more}


def _dates(db: duckdb.DuckDBPyConnection, wanted: list[str]) -> list[str]:
    """Have the last snapshots in a table; return the days of those, or check some."""
    db.execute(_LASTS)
    there = [
        date
        for (date,) in db.execute(
            "SELECT DISTINCT date FROM lasts ORDER BY date"
        ).fetchall()
    ]
    for date in wanted:
        if date not in there:
            raise PagedbgError(
                f"there is nothing of {date}: there are {', '.join(there[-5:])}."
            )
    return wanted or there


def _count(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
