# SPDX-License-Identifier: GPL-2.0-or-later
"""What options say of blocks of memory: how large they are, and in which zones."""

from __future__ import annotations

import argparse
import re

import numpy as np
from drgn import Program

from pagedbg.errors import UsageError
from pagedbg.mm.mmzone import ZoneSpan, zone_names, zone_spans
from pagedbg.schema.filter_words import named, parse_kinds

__all__ = ("chosen_zones", "order_of_size", "parse_block_size")

_UNITS = {"K": 10, "M": 20, "G": 30, "T": 40}

# No block of memory is larger: 16 TiB.
_MOST_SHIFT = 44


def parse_block_size(text: str) -> int:
    """Parse a power of two in bytes, as ``64K``; return its logarithm."""
    match = re.fullmatch(r"(\d{1,20})([KMGT]?)(i?B)?", text.strip(), re.IGNORECASE)
    size = int(match[1]) << _UNITS.get(match[2].upper(), 0) if match else 0
    if size < 1 or size & (size - 1) or size > 1 << _MOST_SHIFT:
        raise UsageError(f"{text!r} is no size of a block; write 64K, 2M or 1G")
    return size.bit_length() - 1


def order_of_size(page_size: int, shift: int, option: str) -> int:
    """
    Return the order of blocks of ``1 << shift`` bytes.

    :param page_size: in bytes
    :param option: that the size was given with
    :raises UsageError: if a page is larger
    """
    order = shift - (page_size.bit_length() - 1)
    if order < 0:
        raise UsageError(f"{option}: a block cannot be smaller than a page")
    return order


def chosen_zones(prog: Program, args: argparse.Namespace) -> list[ZoneSpan]:
    """
    Return the zones that ``--zone`` and ``--node`` choose, by their first page frame.

    :raises UsageError: if there is no such zone
    """
    spans = zone_spans(prog)
    if args.zone:
        known = zone_names(prog)
        wanted = named("--zone", lambda: parse_kinds(args.zone, known, "zone"))
        spans = [span for span in spans if wanted(span.name)]
    if args.node:
        nodes = args.node.mask(np.array([span.nid for span in spans], np.int64))
        spans = [span for span, here in zip(spans, nodes, strict=True) if here]
    return spans
