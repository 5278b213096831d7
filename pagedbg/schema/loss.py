# SPDX-License-Identifier: GPL-2.0-or-later
"""
What a capture has lost: of which kind, and how much. Whoever shows it makes sentences.
"""

from __future__ import annotations

import dataclasses
import enum


class LossKind(enum.Enum):
    """How events, or what is known of them, can get lost."""

    OVERWRITTEN = "overwritten in a ring before they were read"
    MISSED = "not seen, since the kernel did not run the probe or program"
    LEFT_OUT = "in pages that a dump left out"
    RING_DAMAGED = "damaged in a ring of a dump"
    NO_ROOM = "read, and not written for want of room"
    FORGOTTEN = "splits that were not remembered"
    DAMAGED = "damaged in the file"
    GONE = "counted, and not in the file"
    REPEATED = "in the file more than once, or out of order"
    UNCOUNTED = "in the file, and not counted"
    KILLED = "not written by a recorder that was killed"
    SILENCED = "not seen, since what was attached was switched off in the kernel"
    CONTRADICTED = "not known, since the counts contradict each other"


@dataclasses.dataclass(frozen=True)
class Loss:
    """``count`` is None where nobody can know."""

    kind: LossKind
    count: int | None


INCOMPLETE = frozenset(LossKind) - {
    LossKind.REPEATED,
    LossKind.UNCOUNTED,
    LossKind.FORGOTTEN,
}
"""The kinds by which events are missing."""
