# SPDX-License-Identifier: GPL-2.0-or-later
"""The columns of what a query gives, and those that say which columns there are."""

from __future__ import annotations

import re

from pagedbg.schema.columns import SchemaColumn
from pagedbg.schema.table import Column, Kind

RELATION = SchemaColumn(
    name="relation",
    rank=1,
    meaning="The relation that has the column.",
)
COLUMN = SchemaColumn(
    name="column",
    rank=1,
    meaning="The name of the column.",
)
TYPE = SchemaColumn(
    name="type",
    rank=2,
    meaning="The type of the column in SQL.",
)
UNIT = SchemaColumn(
    name="unit",
    rank=4,
    meaning="The unit of the column.",
)
MEANING = SchemaColumn(
    name="meaning",
    rank=3,
    meaning="What the column means.",
)

SAVED_AS = SchemaColumn(
    name="saved_as",
    rank=1,
    meaning="The name of a query: sql NAME asks it.",
)
QUERY = SchemaColumn(
    name="query",
    rank=2,
    meaning="What is asked, in SQL.",
)

# ---- the relations of these columns ----

SQL_COLUMNS = (
    RELATION,
    COLUMN,
    TYPE,
    UNIT,
    MEANING,
)
"""A row a column of a relation: ``sql --schema``."""

SAVED_QUERIES = (
    SAVED_AS,
    QUERY,
)
"""A row a query that is saved: ``sql --saved``."""

_KINDS: dict[str, Kind] = {
    "BOOLEAN": "bool",
    "VARCHAR": "str",
    "VARCHAR[]": "list",
    "FLOAT": "float",
    "DOUBLE": "float",
}


def query_column(name: str, type_: str) -> Column:
    """
    A column that a query gives, if it is none of a relation.

    :param name: as the query calls it
    :param type_: in SQL; what is neither a number nor text is shown as text
    """
    kind: Kind = _KINDS.get(type_, "str")
    if re.fullmatch(r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?", type_):
        kind = "int"
    elif type_.startswith("DECIMAL"):
        kind = "float"
    # It stands in a heading as it is.
    return Column("".join(c if c.isprintable() else "?" for c in name), kind)
