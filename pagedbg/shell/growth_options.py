# SPDX-License-Identifier: GPL-2.0-or-later
"""What commands take that compare who holds memory at several times."""

from __future__ import annotations

import argparse

from drgn.commands import argument

from pagedbg.schema.snapshot_columns import OWNER_KEYS, SHOWN_BY_STACK
from pagedbg.shell.filter_options import FILTERS, KIND, MEMCG, NO_SELF
from pagedbg.shell.table_options import NO_STACK, SORT, TOP, ByParser

GROWTH_OPTIONS = (
    argument(
        "--by",
        metavar="KEY",
        type=ByParser(OWNER_KEYS),
        default=["stack_shape"],
        help="compare by KEY, or several with commas, by stack_shape if none is given: "
        + ", ".join(OWNER_KEYS),
    ),
    TOP,
    SORT,
    NO_STACK,
    KIND,
    NO_SELF,
    MEMCG,
    FILTERS,
)


def shows_stack(args: argparse.Namespace) -> bool:
    """Whether a row shows a stack that it is of, beside the id that it is summed by."""
    return (
        bool(SHOWN_BY_STACK & set(args.by))
        and "stack" not in args.by
        and not args.no_stack
    )
