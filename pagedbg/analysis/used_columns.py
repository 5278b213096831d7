# SPDX-License-Identifier: GPL-2.0-or-later
"""What a query in SQL needs: which tables, and which of their columns."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from pagedbg.analysis.used_rows import rows_between
from pagedbg.errors import UsageError

if TYPE_CHECKING:
    import duckdb

# They take a query or the name of a table out of a string, where it is not seen.
_HIDING = ("query", "query_table")


class Used(NamedTuple):
    """
    The names of the ``tables`` that a query may read, and of ``columns`` that it may
    use in any of them; None is all. Of the table of ``pages``, from which page frame
    number on, and before which one, None for no end. More than it does may be among
    them, never less.
    """

    tables: frozenset[str]
    columns: frozenset[str] | None
    pfns: tuple[int, int | None] = (0, None)


def used_by(db: duckdb.DuckDBPyConnection, query: str) -> Used:
    """
    Find out what a query needs, from how DuckDB itself has parsed it.

    :param query: one SELECT
    :raises UsageError: if it hides what it needs
    """
    found = db.execute("SELECT json_serialize_sql(?)", [query]).fetchone()
    tree = json.loads(found[0]) if found else {"error": True}
    if tree.get("error"):
        # Of statements that it cannot write down.
        return Used(frozenset(map(str.lower, db.get_table_names(query))), None)
    nodes = list(_nodes(tree))
    for node in nodes:
        if str(node.get("function_name", "")).lower() in _HIDING:
            raise UsageError("query() hides what is read: write the query itself")
    if any(node.get("show_type") == "DESCRIBE" for node in nodes):
        return Used(frozenset(), frozenset())
    tables = _texts(nodes, "table_name")
    # An expression's alias is no table's.
    rows = tables | _texts([node for node in nodes if "class" not in node], "alias")
    columns: set[str] = set()
    every = False
    for node in nodes:
        names = [str(name).lower() for name in node.get("column_names") or ()]
        columns.update(names, map(str.lower, node.get("using_columns") or ()))
        every |= (
            node.get("class") == "STAR"
            or node.get("ref_type") == "NATURAL"
            or node.get("type") in ("PIVOT", "SHOW_REF")
            or bool(node.get("column_name_alias"))
            # A row as a whole.
            or (len(names) == 1 and names[0] in rows - {""})
        )
    pfns = rows_between(tree, nodes, "pages", "pfn")
    return Used(frozenset(tables), None if every else frozenset(columns), pfns)


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    if isinstance(tree, dict):
        yield tree
        for value in tree.values():
            yield from _nodes(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _nodes(value)


def _texts(nodes: list[dict[str, Any]], key: str) -> set[str]:
    return {node[key].lower() for node in nodes if isinstance(node.get(key), str)}
