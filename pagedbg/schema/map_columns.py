# SPDX-License-Identifier: GPL-2.0-or-later
"""The columns of a map of memory: what is in its cells; and its relations."""

from __future__ import annotations

from pagedbg.schema import columns, pageblock_columns, sum_columns, zone_columns
from pagedbg.schema.columns import SchemaColumn

VALUE = SchemaColumn(
    name="value",
    rank=1,
    kind="str",
    meaning=(
        "What the pages are by what --by asks for: of an owner, free where nobody has"
        " them, and not on record where nobody is known to."
    ),
)
CONTENTS = SchemaColumn(
    name="contents",
    rank=4,
    kind="rows",
    meaning="All that is in the cell, most pages first.",
)
MOSTLY = SchemaColumn(
    name="mostly",
    rank=2,
    kind="str",
    meaning="What most of the cell's pages are.",
)
HIGHLIGHTED = SchemaColumn(
    name="highlighted",
    rank=3,
    kind="int",
    unit="pages",
    meaning="How many pages of the cell the filter of --highlight chooses.",
)

# ---- the relations of these columns ----

MAP_CONTENTS = (VALUE, columns.PAGES)
"""A row something that is in a cell: ``map`` in ``contents``."""

MAP_CELLS = (
    zone_columns.START_PFN,
    columns.NODE,
    columns.ZONE,
    columns.PAGES,
    pageblock_columns.ABSENT,
    MOSTLY,
    HIGHLIGHTED,
    CONTENTS.holding(MAP_CONTENTS),
)
"""A row a cell, which is some pages that lie together: ``map``."""

MAP_CELL = (VALUE, columns.PAGES, sum_columns.SHARE, columns.PFN)
"""A row something that is in one cell, with its first page: ``map --at``."""
