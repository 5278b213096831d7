# SPDX-License-Identifier: GPL-2.0-or-later
"""What a user may choose at a prompt: each setting, its words, and what it means."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

from pagedbg.errors import UsageError

__all__ = ("FORMATS", "SETTINGS", "Setting", "Settings", "in_words", "parse_jobs")

FORMATS = ("text", "json", "jsonl", "csv", "tsv", "markdown", "parquet")

_SWITCH, _KEYS = ("on", "off"), ("emacs", "vi")

_MOST_JOBS = 1024


def _cpus_but_one() -> int:
    return max(len(os.sched_getaffinity(0)) - 1, 1)


@dataclasses.dataclass
class Settings:
    """The values of :data:`SETTINGS`, by their names."""

    format: str = "text"
    pager: str = "on"
    colors: bool = True
    keys: str = "emacs"
    timing: bool = False
    jobs: int = dataclasses.field(default_factory=_cpus_but_one)


class Setting(NamedTuple):
    """
    How a setting is read from a word, a sentence on it, and words that it may be.
    ``read`` raises UsageError where a word cannot be taken.
    """

    read: Callable[[str], str | bool | int]
    meaning: str
    words: Sequence[str]


def _one_of(*words: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in words:
            raise UsageError(f"{text!r} is none of {', '.join(words)}")
        return text

    return read


def _read_switch(text: str) -> bool:
    return _one_of(*_SWITCH)(text) == "on"


def _read_pager(text: str) -> str:
    if not text.strip():
        raise UsageError("write on, off, or a command such as 'less -S'")
    return text.strip()


def parse_jobs(text: str) -> int:
    """The parser of ``--jobs``, and of the setting."""
    if not (text.isascii() and text.isdigit()) or not 0 < int(text) <= _MOST_JOBS:
        raise UsageError(f"{text!r} is not a number of processes; write 1 or 4")
    return int(text)


SETTINGS = {
    "format": Setting(
        _one_of(*FORMATS),
        f"How tables are printed: {', '.join(FORMATS)}.",
        FORMATS,
    ),
    "pager": Setting(
        _read_pager,
        "Where long text goes: on for $PAGER, off for no pager, or a command.",
        _SWITCH,
    ),
    "colors": Setting(
        _read_switch, "Whether there are colours; off is as NO_COLOR.", _SWITCH
    ),
    "keys": Setting(
        _one_of(*_KEYS), "The keys of the prompt are those of emacs or of vi.", _KEYS
    ),
    "timing": Setting(
        _read_switch, "Whether the time that a command took is said: on, off.", _SWITCH
    ),
    "jobs": Setting(
        parse_jobs,
        "How many processes read memory; by default as many as there are CPUs, but"
        " one.",
        (),
    ),
}
"""Every setting by name, in the order in which they are listed."""


def in_words(value: object) -> str:
    """A value as it is written."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)
