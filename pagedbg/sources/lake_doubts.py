# SPDX-License-Identifier: GPL-2.0-or-later
"""
Which hosts of a lake cannot be believed: clocks that are off, two machines of one name.
What is doubtful is named, and taken out of the table of snapshots.
"""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

from pagedbg.errors import few
from pagedbg.sources.lake_index import TABLE

if TYPE_CHECKING:
    import duckdb

# By how much a clock may be set within a boot, or two boots overlap, in seconds.
_SLACK = 3600

# A snapshot with the time at which its kernel was booted, in seconds.
_BOOTED = f"""
    SELECT snapshot, host, boot_id, taken,
        epoch(TRY_CAST(taken AS TIMESTAMPTZ)) AS taken_s,
        epoch(TRY_CAST(taken AS TIMESTAMPTZ)) - up_ns / 1e9 AS booted_s
    FROM {TABLE} WHERE boot_id IS NOT NULL AND up_ns IS NOT NULL"""

_SET = f"""
    SELECT snapshot, host || ' at ' || taken
    FROM (SELECT *, median(booted_s) OVER (PARTITION BY host, boot_id) AS usual
        FROM ({_BOOTED}))
    WHERE abs(booted_s - usual) > {_SLACK}"""

_AHEAD = f"""
    SELECT snapshot, host || ' at ' || taken FROM {TABLE}
    WHERE epoch(TRY_CAST(taken AS TIMESTAMPTZ)) > $now + {_SLACK}"""

_IDS = f"""
    SELECT snapshot, host FROM {TABLE} WHERE host IN (
        SELECT host FROM {TABLE} GROUP BY host HAVING count(DISTINCT host_id) > 1)"""

# A machine has one boot at a time: that before has ended when one begins.
_OVERLAP = f"""
    SELECT snapshot, host FROM {TABLE} WHERE host IN (
        SELECT host FROM (
            SELECT *, max(last_s) OVER (PARTITION BY host ORDER BY first_s, boot_id
                ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before_s
            FROM (SELECT host, boot_id, min(booted_s) AS first_s, max(taken_s) AS last_s
                FROM ({_BOOTED}) GROUP BY host, boot_id))
        WHERE before_s > first_s + {_SLACK})"""

_LACKS = f"""
    SELECT snapshot, host || ' at ' || taken FROM {TABLE}
    WHERE list_contains(lacks, 'owners')"""

# In this order: what is out for one reason is no reason for another.
_DOUBTS = (
    (_AHEAD, "has not come yet: its clock is wrong"),
    (_SET, "is not when it was by the time since its boot: its clock was set"),
    (_IDS, "is the name of several machines"),
    (
        _OVERLAP,
        "was booted while it ran: two machines have that name, or its clock is wrong",
    ),
    (_LACKS, "does not know who holds memory"),
)


def take_out_doubtful(db: duckdb.DuckDBPyConnection, notes: list[str]) -> None:
    """
    Take those snapshots out of the table of a lake's that cannot be believed, or do not
    know who holds memory.

    :param notes: takes a sentence on each, unless they are many
    """
    now = datetime.datetime.now(datetime.UTC).timestamp()
    for query, said in _DOUBTS:
        found = db.execute(query, {"now": now} if "$now" in query else {}).fetchall()
        notes += few({f"{name} {said}: it is left out." for _, name in found})
        db.execute(
            f"DELETE FROM {TABLE} WHERE snapshot IN (SELECT unnest(?::BIGINT[]))",
            [[number for number, _ in found]],
        )
