# SPDX-License-Identifier: GPL-2.0-or-later
"""What is known of one page has the members that its relations have columns."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from pagedbg.schema.columns import SchemaColumn
from pagedbg.schema.page_columns import (
    BLOCK_PARTS,
    PAGE_MAPPINGS,
    PAGES,
    SLAB_OBJECTS,
)
from pagedbg.sources.page_facts import BlockPart, PageMapping, SlabObject
from pagedbg.sources.page_rows import PageRow


@pytest.mark.parametrize(
    ("value", "relation"),
    [
        (PageRow, PAGES),
        (SlabObject, SLAB_OBJECTS),
        (PageMapping, PAGE_MAPPINGS),
        (BlockPart, BLOCK_PARTS),
    ],
)
def test_members_are_columns(
    value: type[NamedTuple], relation: tuple[SchemaColumn, ...]
) -> None:
    assert value._fields == tuple(column.name for column in relation)
