# SPDX-License-Identifier: GPL-2.0-or-later
"""How far a capture can be believed."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection


@dataclasses.dataclass(frozen=True)
class Evidence:
    """
    What is known of how good a capture is.

    ``missing`` are the kinds of events that may have happened unrecorded. ``until`` is
    the time of ``ts_nsec`` up to which events were recorded, and ``current`` says that
    no time has gone by between that and the state of the pages. ``movable`` are the
    bits of a gfp mask, ``__GFP_MOVABLE``, that tell what may be migrated; with 0 all
    may. ``swaps_handles`` is true of kernels (6.9 and later) that leave the migration's
    stack on record of a page that was migrated away: there, a page that is freed with
    its allocation's own stack ends it.
    """

    missing: Collection[int] = ()
    until: int | None = None
    current: bool = False
    movable: int = 0
    swaps_handles: bool = False
