# SPDX-License-Identifier: GPL-2.0-or-later
"""Which programs an event wants: those that the C source has, and each once."""

from __future__ import annotations

import re

import pytest

from pagedbg.capture.backends.bpf_image import sources
from pagedbg.capture.backends.bpf_links import COMPLETE, UNTOLD, programs_of
from pagedbg.capture.backends.bpf_programs import (
    COMBINED,
    KPROBE,
    TRACEPOINT,
    TRAMPOLINE,
    hooked,
)
from pagedbg.schema.event_record import EVENT_KINDS

FUNCTIONS = {kind.name: kind.functions[0] for kind in EVENT_KINDS}


@pytest.mark.parametrize("way", [COMBINED, TRAMPOLINE, TRACEPOINT, KPROBE])
def test_each_program_is_in_the_source_and_wanted_once(way: str) -> None:
    source = (sources() / "capture.bpf.c").read_text()
    known = set(re.findall(r"^int (\w+)\(struct", source, re.MULTILINE))
    entries = set(re.findall(r"^ENTRY\((\w+),", source, re.MULTILINE))
    names = [
        name
        for event, function in hooked(FUNCTIONS, way).items()
        for name, _, _ in programs_of(way, event, function)
    ]
    assert len(names) == len(set(names))
    functions = set(FUNCTIONS.values())
    for name in names:
        prefix, _, function = name.partition("__")
        assert (
            name in known
            or name.removesuffix("_entry") in entries
            or (prefix in ("kfunc", "kretfunc") and function in functions)
        ), name


def test_what_hears_of_the_others_is_in_the_source() -> None:
    source = (sources() / "capture.bpf.c").read_text()
    assert f"\nint {UNTOLD}(struct pt_regs *ctx)" in source
    assert f"\nint {COMPLETE}(struct bpf_raw_tracepoint_args *ctx)" in source
