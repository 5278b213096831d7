# SPDX-License-Identifier: GPL-2.0-or-later
"""Which rows a query in SQL needs of a table: those between two values of a column."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

__all__ = ("rows_between",)

_Node = Mapping[str, Any]
_Between = tuple[int, int | None]
_Own = Collection[tuple[str, ...]]

# What a comparison leaves of a column, from which value on and before which one.
_COMPARED: Mapping[str, Callable[[int], _Between]] = {
    "COMPARE_EQUAL": lambda value: (value, value + 1),
    "COMPARE_LESSTHAN": lambda value: (0, value),
    "COMPARE_LESSTHANOREQUALTO": lambda value: (0, value + 1),
    "COMPARE_GREATERTHAN": lambda value: (value + 1, None),
    "COMPARE_GREATERTHANOREQUALTO": lambda value: (value, None),
}

# The same with the column on the right.
_TURNED = {
    "COMPARE_EQUAL": "COMPARE_EQUAL",
    "COMPARE_LESSTHAN": "COMPARE_GREATERTHAN",
    "COMPARE_LESSTHANOREQUALTO": "COMPARE_GREATERTHANOREQUALTO",
    "COMPARE_GREATERTHAN": "COMPARE_LESSTHAN",
    "COMPARE_GREATERTHANOREQUALTO": "COMPARE_LESSTHANOREQUALTO",
}


def rows_between(
    tree: _Node, nodes: list[dict[str, Any]], table: str, column: str
) -> _Between:
    """
    Find out from which value of a column on a query needs the rows of a table, and
    before which one; None is no end. More than it needs may be among them, never less:
    only what a plain SELECT from the table asks of all its rows is looked at.

    :param tree: the query, as ``json_serialize_sql()`` of DuckDB gives it
    :param nodes: all nodes of it
    :param column: of numbers that are not negative
    """
    whole = 0, None
    select = tree["statements"][0]["node"]
    source = select.get("from_table") or {}
    if (
        select.get("type") != "SELECT_NODE"
        or source.get("type") != "BASE_TABLE"
        or str(source.get("table_name")).lower() != table
        or sum(str(node.get("table_name")).lower() == table for node in nodes) != 1
        # It might be another column that has the name.
        or any(str(node.get("alias")).lower() == column for node in nodes)
        or source.get("column_name_alias")
        or source.get("sample")
        or select.get("sample")
    ):
        return whole
    start, end = 0, None
    own = {(column,), (str(source.get("alias") or table).lower(), column)}
    for low, high in _bounds(select.get("where_clause") or {}, own):
        start = max(start, low)
        if high is not None:
            end = high if end is None else min(end, high)
    return start, end


def _bounds(node: _Node, own: _Own) -> Iterator[_Between]:
    """Iterate over what has to be true of the column for a condition to be."""
    kind = str(node.get("type"))
    if kind == "CONJUNCTION_AND":
        for child in node["children"]:
            yield from _bounds(child, own)
    elif kind == "COMPARE_BETWEEN" and _is(node["input"], own):
        low, high = _value(node["lower"]), _value(node["upper"])
        if low is not None and high is not None:
            yield low, high + 1
    elif kind == "COMPARE_IN" and _is(node["children"][0], own):
        values = [_value(child) for child in node["children"][1:]]
        known = [value for value in values if value is not None]
        if known and len(known) == len(values):
            yield min(known), max(known) + 1
    elif kind in _COMPARED:
        left, right = node["left"], node["right"]
        if _is(right, own):
            left, right, kind = right, left, _TURNED[kind]
        value = _value(right)
        if _is(left, own) and value is not None:
            yield _COMPARED[kind](value)


def _is(node: _Node, own: _Own) -> bool:
    """Whether it is the column, by one of its names."""
    names = tuple(str(name).lower() for name in node.get("column_names") or ())
    return node.get("class") == "COLUMN_REF" and names in own


def _value(node: _Node) -> int | None:
    """The whole number that is written there, None for anything else."""
    literal = node.get("literal") or {}
    text = str(literal.get("text"))
    if literal.get("kind") == "INTEGER" and text.removeprefix("-").isdecimal():
        return int(text)
    # Older versions of DuckDB have the value instead of how it was written.
    constant = node.get("value")
    if isinstance(constant, dict) and constant["type"]["id"] in ("INTEGER", "BIGINT"):
        number = constant.get("value")
        return number if isinstance(number, int) else None
    return None
