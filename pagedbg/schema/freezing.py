# SPDX-License-Identifier: GPL-2.0-or-later
"""What stops the rings, as it is asked for, and what has, as it is found."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec

from pagedbg.errors import UsageError
from pagedbg.schema.event_record import MOST_ORDER
from pagedbg.schema.owner_record import decode_comm
from pagedbg.schema.recorded_names import Name

FAILURE, QUIET_FAILURE, OOM_KILL = 1, 2, 3

PANIC_ONLY: Final = "panic-only"
"""The rings are written until the machine dies."""

# By word, the reasons that it stands for, and whether an order may stand behind it.
_WORDS = {
    "failure": ((FAILURE,), True),
    "any-failure": ((FAILURE, QUIET_FAILURE), True),
    "oom": ((OOM_KILL,), False),
    PANIC_ONLY: ((), False),
}

_Number = Annotated[int, msgspec.Meta(ge=0, le=1 << 62)]


class FreezeOn(msgspec.Struct, frozen=True):
    """
    What is to stop the rings: a ``word``, and the least ``order`` of a failure that
    counts.
    """

    word: str = PANIC_ONLY
    order: int = 0

    def __str__(self) -> str:
        return f"{self.word}:{self.order}" if self.order else self.word

    @property
    def reasons(self) -> tuple[int, ...]:
        """Numbers of ``enum pagedbg_freeze_reason`` of ``bpf/ring.h``."""
        return _WORDS[self.word][0]


UNFROZEN: Final = FreezeOn()
"""Nothing stops the rings."""


class Frozen(msgspec.Struct):
    """
    What has stopped the rings (``struct pagedbg_freeze``).

    ``reason`` is 0 where nobody had come to write it down. ``time_ns`` is by
    local_clock(), 0 if only ``mono_ns`` tells. ``comm`` and ``pid`` are those of who
    wanted memory, ``order`` is −1 of an OOM kill that was asked for.
    """

    reason: Annotated[int, msgspec.Meta(ge=0, le=OOM_KILL)]
    time_ns: _Number = 0
    mono_ns: _Number = 0
    order: Annotated[int, msgspec.Meta(ge=-1, le=MOST_ORDER)] = 0
    gfp_mask: Annotated[int, msgspec.Meta(ge=0, lt=1 << 32)] = 0
    pid: Annotated[int, msgspec.Meta(ge=0, lt=1 << 32)] = 0
    comm: Name = ""


def parse_freeze_on(text: str) -> FreezeOn:
    """
    Return what ``--freeze-on`` asks for.

    :raises UsageError: if it means nothing
    """
    word, colon, order = text.partition(":")
    if word not in _WORDS or (colon and not _WORDS[word][1]):
        raise UsageError(
            f"{text!r} is none of failure, any-failure (both may have :ORDER behind),"
            f" oom and {PANIC_ONLY}"
        )
    if colon and not (order.isascii() and order.isdigit() and int(order) <= MOST_ORDER):
        raise UsageError(f"{order!r} is no order from 0 to {MOST_ORDER}")
    return FreezeOn(word, int(order or 0))


def frozen_by(record: Any) -> Frozen:
    """
    What has stopped rings that are frozen.

    :param record: an element of :data:`~pagedbg.schema.event_record.FREEZE`; of a dump
        it may say anything, and what cannot be is taken for nothing
    """
    try:
        return msgspec.convert(
            {
                "reason": int(record["reason"]),
                "time_ns": int(record["time_nsec"]),
                "mono_ns": int(record["mono_nsec"]),
                "order": int(record["order"]),
                "gfp_mask": int(record["gfp_mask"]),
                "pid": int(record["pid"]),
                "comm": decode_comm(record["comm"]),
            },
            Frozen,
        )
    except msgspec.ValidationError:
        return Frozen(0)
