# SPDX-License-Identifier: GPL-2.0-or-later
"""
What is recorded: the filter that the kernel applies before anything else is done.

Each of its words is defined once, in :data:`_WORDS`: how its value is made of what was
typed, and how it is written for people. ``schema/filter_record.py`` packs it for the
kernel.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import msgspec

from pagedbg.errors import UsageError
from pagedbg.schema import filter_words
from pagedbg.schema.event_record import KINDS_BY_WORD, MOST_ORDER, USUAL_WORDS
from pagedbg.schema.flag_words import format_flags, parse_flags
from pagedbg.schema.recorded_names import Name, Pfn, RecordedNames

MOST_NUMBER = (1 << 32) - 2
"""No process and no node has a greater number."""

PIDS, COMMS = 8, 8
"""So many ranges of processes and so many names can the kernel be told."""

_ALL = filter_words.threshold(100)

# TASK_COMM_LEN, without the NUL.
_MOST_COMM = 15

# As in a shell, a character that stands for itself.
_LITERAL = re.compile(r"\[(.)\]", re.DOTALL)

_Order = Annotated[int, msgspec.Meta(ge=0, le=MOST_ORDER)]
_Number = Annotated[int, msgspec.Meta(ge=0, le=MOST_NUMBER)]
_Event = Annotated[str, msgspec.Meta(pattern=rf"\A({'|'.join(KINDS_BY_WORD)})\Z")]
_Names = Annotated[tuple[Name, ...], msgspec.Meta(min_length=1)]

NumberSpan = tuple[_Number, _Number | None]
"""A closed range of numbers; one whose end is None has none."""


class OrderShare(msgspec.Struct, frozen=True):
    """
    The orders from ``low`` to ``high``, and which percentage of their allocations takes
    part.
    """

    low: _Order
    high: _Order
    percent: Annotated[float, msgspec.Meta(gt=0, le=100)] = 100.0

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError(f"orders from {self.low} to {self.high}")


class EventFilter(
    msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True
):
    """
    What has to be so for an event to be recorded, by the names of options. None is
    anything, and of ``events`` the usual ones.

    Of ``gfp`` all flags must be set; of each of the others one value has to match, and
    where it is empty none does. ``migratetype`` is what the allocation asks for.
    ``comm`` has names of 1 to 15 bytes, in which ``?`` stands for any byte and a ``*``
    at the end for any rest. ``pfns`` are closed ranges of page frame numbers.
    """

    orders: tuple[OrderShare, ...] | None = None
    events: tuple[_Event, ...] | None = None
    gfp: _Names | None = None
    migratetype: _Names | None = None
    zone: _Names | None = None
    node: tuple[NumberSpan, ...] | None = None
    pid: tuple[NumberSpan, ...] | None = None
    comm: _Names | None = None
    pfns: tuple[tuple[Pfn, Pfn], ...] | None = None

    def __post_init__(self) -> None:
        for low, high in (*(self.node or ()), *(self.pid or ()), *(self.pfns or ())):
            if high is not None and low > high:
                raise ValueError(f"a range from {low} to {high}")
        for name in self.comm or ():
            size = len(name.removesuffix("*").encode(errors="surrogateescape"))
            if not name or size > _MOST_COMM or "\0" in name:
                raise ValueError(f"a task of the name {name!r}")


EVERYTHING = EventFilter()
"""A filter that lets everything pass but what has to be asked for by name."""

OPTIONS = EventFilter.__struct_fields__
"""What can be filtered in the kernel, by the names of the options."""


def filter_of(
    typed: Mapping[str, str], names: RecordedNames, base: EventFilter = EVERYTHING
) -> EventFilter:
    """
    Return the filter for options as they were typed, each in place of what ``base`` has
    for it.

    :param typed: values by name, of :data:`OPTIONS`
    :param names: those of the kernel that is to be recorded
    :raises UsageError: for what means nothing, or cannot be done in the kernel
    """
    values = {}
    for name, text in typed.items():
        if name not in _WORDS:
            raise UsageError(f"--{name} is no filter in the kernel")
        read = functools.partial(_WORDS[name].read, text, names)
        values[name] = filter_words.named(f"--{name}", read)
    return msgspec.structs.replace(base, **values)


def describe(filter_: EventFilter | None) -> str:
    """
    Return a filter as it would be typed; None is one that is not known.

    >>> describe(EventFilter(pid=((7, None),), comm=("sh",)))
    "--pid '>=7' --comm sh"
    """
    if filter_ is None:
        return "(the filter could not be read)"
    options = (
        f"--{name} {_quoted(word.write(value))}"
        for name, word in _WORDS.items()
        if (value := getattr(filter_, name)) is not None
    )
    return " ".join(options) or "everything but read"


def shares_of(thresholds: Sequence[int]) -> tuple[OrderShare, ...] | None:
    """
    Return which orders take part.

    :param thresholds: by order, up to the greatest that there is, as
        :func:`~pagedbg.schema.filter_words.threshold` makes them
    :return: None if all of every order do
    """
    if min(thresholds) == _ALL:
        return None
    shares = []
    orders = range(len(thresholds))
    for threshold, group in itertools.groupby(orders, thresholds.__getitem__):
        run = list(group)
        if threshold:
            shares.append(OrderShare(run[0], run[-1], _percent(threshold)))
    return tuple(shares)


def _percent(threshold: int) -> float:
    """The shortest percentage that makes this threshold."""
    if threshold == _ALL:
        return 100.0
    # In the middle of those that do: eight decimals always tell it from others.
    middle = 100 * (threshold + 0.5) / _ALL
    return next(
        percent
        for decimals in range(9)
        if filter_words.threshold(percent := round(middle, decimals)) == threshold
    )


def _read_orders(text: str, names: RecordedNames) -> tuple[OrderShare, ...] | None:
    thresholds = [0] * (MOST_ORDER + 1)
    for low, high, percent in filter_words.parse_orders(text).parts:
        if low > MOST_ORDER:
            raise UsageError(
                f"no allocation has an order of {low}; write 4, 4-9, '>=3' or"
                " 0:20,1:50,4 (order:percent)"
            )
        for order in range(low, min(high, MOST_ORDER) + 1):
            thresholds[order] = max(thresholds[order], filter_words.threshold(percent))
    return shares_of(thresholds)


def _write_orders(shares: Sequence[OrderShare]) -> str:
    parts = []
    for share in shares:
        whole = share.high == MOST_ORDER > share.low
        span = _write_span((share.low, None if whole else share.high))
        parts.append(span if share.percent == 100 else f"{span}:{share.percent:.10g}")
    return ",".join(parts) or "0:0"


def read_events(text: str) -> tuple[str, ...]:
    """
    Return the words for events in a text that has them with commas, or ``all``, each
    once, in the order of ``enum pagedbg_event``.

    :raises UsageError: if there is no such event
    """
    typed = [part.strip() for part in text.split(",")]
    for word in typed:
        if word not in (*KINDS_BY_WORD, "all"):
            raise UsageError(
                f"there is no event {word!r}, only {', '.join(KINDS_BY_WORD)} and all"
            )
    return tuple(word for word in KINDS_BY_WORD if word in typed or "all" in typed)


def _read_events(text: str, names: RecordedNames) -> tuple[str, ...] | None:
    words = read_events(text)
    return None if words == USUAL_WORDS else words


def _write_events(words: Sequence[str]) -> str:
    return "all" if len(words) == len(KINDS_BY_WORD) else ",".join(words)


def _read_gfp(text: str, names: RecordedNames) -> tuple[str, ...] | None:
    return flag_names(names, parse_flags(names.gfp, text))


def flag_names(names: RecordedNames, mask: int) -> tuple[str, ...] | None:
    """Return the flags of a gfp mask as the kernel names them; None for none."""
    return tuple(format_flags(names.gfp, mask).split("|")) if mask else None


def _read_migratetype(text: str, names: RecordedNames) -> tuple[str, ...]:
    # What a gfp mask can ask for has two bits of it.
    known = names.migratetype[:4]
    wanted = filter_words.parse_kinds(
        text, known, "migratetype that an allocation asks for"
    )
    masks = {name: mask for mask, name in names.gfp}
    if (masks.get("__GFP_MOVABLE"), masks.get("__GFP_RECLAIMABLE")) != (0x8, 0x10):
        raise UsageError(
            "this kernel keeps migratetypes elsewhere in a gfp mask; filter with"
            " --migratetype when looking at the capture"
        )
    return tuple(filter(wanted, known))


def _read_zone(text: str, names: RecordedNames) -> tuple[str, ...]:
    known = list(dict.fromkeys(zone.zone for zone in names.zones))
    return tuple(filter(filter_words.parse_kinds(text, known, "zone"), known))


def _read_node(text: str, names: RecordedNames) -> tuple[NumberSpan, ...]:
    return _spans(text, "node", "a node")


def _read_pid(text: str, names: RecordedNames) -> tuple[NumberSpan, ...]:
    spans = _spans(text, "process: the kernel records those that run", "any process")
    if len(spans) > PIDS:
        raise UsageError(
            f"{len(spans)} ranges are more than the {PIDS} that the kernel can be told"
        )
    return spans


def _spans(text: str, what: str, whose: str) -> tuple[NumberSpan, ...]:
    ranges = filter_words.parse_numbers(text).ranges
    if any(low < 0 for low, _ in ranges):
        raise UsageError(f"{text!r} is no {what}")
    if any(low > MOST_NUMBER for low, _ in ranges):
        raise UsageError(f"{text!r} is more than {whose} can have for a number")
    return tuple((low, high if high <= MOST_NUMBER else None) for low, high in ranges)


def _write_spans(spans: Sequence[NumberSpan]) -> str:
    return ",".join(map(_write_span, spans)) or "none"


def _write_span(span: NumberSpan) -> str:
    low, high = span
    if high is None:
        return f">={low}"
    return str(low) if low == high else f"{low}-{high}"


def _read_comm(text: str, names: RecordedNames) -> tuple[str, ...]:
    patterns = filter_words.parse_names(text).patterns
    if len(patterns) > COMMS:
        raise UsageError(
            f"{len(patterns)} names are more than the {COMMS} that the kernel can be"
            " told"
        )
    return tuple(map(_comm_pattern, patterns))


def _comm_pattern(typed: str) -> str:
    """
    A name as the kernel can look for it, cut as the kernel cuts its own. A byte that is
    no text may be any.
    """
    pattern = typed.removesuffix("*")
    start = _LITERAL.sub(lambda found: found[1], pattern)
    if (
        re.search(r"[*[\0]", _LITERAL.sub("", pattern))
        or "[?]" in pattern
        or (pattern == typed and start.endswith("*"))
    ):
        raise UsageError(
            f"{typed!r} cannot be matched in the kernel, which takes ? and one * at"
            " the end, and for a character of the name itself one in brackets: [,]"
        )
    name = start.encode(errors="surrogateescape")
    cut = re.sub(
        "[\udc80-\udcff]", "?", name[:_MOST_COMM].decode(errors="surrogateescape")
    )
    if pattern == typed or len(name) > _MOST_COMM:
        return cut
    return cut.rstrip("?") + "*"


def _write_comm(patterns: Sequence[str]) -> str:
    return ",".join(map(_typed_pattern, patterns))


def _typed_pattern(pattern: str) -> str:
    """A pattern as it has to be typed: in brackets what would end or widen it."""
    start = pattern.removesuffix("*")
    rest = pattern[len(start) :]
    if rest:
        # Any rest may begin with any byte.
        start = start.rstrip("?")
    blank = len(start) - len(start.lstrip()), len(start.rstrip())
    letters = (
        f"[{letter}]" if letter in ",*[" or not blank[0] <= i < blank[1] else letter
        for i, letter in enumerate(start)
    )
    return "".join(letters) + rest


def _read_pfns(text: str, names: RecordedNames) -> tuple[tuple[int, int], ...]:
    start, end = filter_words.parse_pfns(text)
    return ((start, end - 1),)


def _write_pfns(spans: Sequence[tuple[int, int]]) -> str:
    ranges = (
        f"{start:#x}" + (f"-{end:#x}" if end > start else "") for start, end in spans
    )
    return ",".join(ranges) or "none"


class _Word(NamedTuple):
    """How the value of an option is made of text, and text of it."""

    read: Callable[[str, RecordedNames], Any]
    write: Callable[[Any], str]


_WORDS = {
    "orders": _Word(_read_orders, _write_orders),
    "events": _Word(_read_events, _write_events),
    "gfp": _Word(_read_gfp, "|".join),
    "migratetype": _Word(_read_migratetype, ",".join),
    "zone": _Word(_read_zone, ",".join),
    "node": _Word(_read_node, _write_spans),
    "pid": _Word(_read_pid, _write_spans),
    "comm": _Word(_read_comm, _write_comm),
    "pfns": _Word(_read_pfns, _write_pfns),
}


def _quoted(text: str) -> str:
    if re.fullmatch(r"[\w:,.+-]+", text):
        return text
    return "'" + text.replace("'", "'\\''") + "'"
