# SPDX-License-Identifier: GPL-2.0-or-later
"""Names that the kernel has for its flags."""

from __future__ import annotations

import numpy as np

from pagedbg.mm.gfp import (
    decode_gfp_flags,
    gfp_flag_names,
    gfp_migratetype,
    gfpflag_names,
)
from pagedbg.mm.migrate import (
    decode_migrate_reason,
    migrate_reason_names,
    migratetype_names,
)
from pagedbg.schema.flag_words import parse_flags
from pagedbg.target.target import Target


def test_gfp_names(sample: Target) -> None:
    prog = sample.prog
    names = gfpflag_names(prog)
    for text in ("GFP_KERNEL", "GFP_KERNEL|__GFP_COMP"):
        assert decode_gfp_flags(prog, parse_flags(names, text)) == text
    assert decode_gfp_flags(prog, 0) == ""
    for mask, name in names:
        assert parse_flags(names, name) == mask
    assert {"GFP_ATOMIC", "GFP_USER", "__GFP_ZERO", "__GFP_MOVABLE"} <= set(
        gfp_flag_names(prog)
    )


def test_gfp_migratetype(sample: Target) -> None:
    prog = sample.prog
    names = migratetype_names(prog)
    asked = {
        text: names[gfp_migratetype(prog, parse_flags(gfpflag_names(prog), text))]
        for text in ("GFP_KERNEL", "__GFP_MOVABLE", "__GFP_RECLAIMABLE")
    }
    assert asked == {
        "GFP_KERNEL": "Unmovable",
        "__GFP_MOVABLE": "Movable",
        "__GFP_RECLAIMABLE": "Reclaimable",
    }
    masks = np.array([parse_flags(gfpflag_names(prog), text) for text in asked])
    assert [names[i] for i in gfp_migratetype(prog, masks)] == list(asked.values())


def test_migrate_names(sample: Target) -> None:
    prog = sample.prog
    assert migratetype_names(prog)[:4] == (
        "Unmovable",
        "Movable",
        "Reclaimable",
        "HighAtomic",
    )
    assert migrate_reason_names(prog)[0] == "compaction"
    assert decode_migrate_reason(prog, 0) == "compaction"
    assert decode_migrate_reason(prog, -1) is None
