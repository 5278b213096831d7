# SPDX-License-Identifier: GPL-2.0-or-later
"""
What goes on recording with no recorder: a flight recorder that was left on purpose, or
the module of a recorder that was killed.

A note in ``/run`` says what it records; that is forgotten with the boot, as what it is
about.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from pagedbg.capture.backends import bpf, bpf_programs, kmod
from pagedbg.capture.this_boot import now

NOTE = Path("/run/pagedbg.json")


def note(backend: str, attach: str, words: str) -> None:
    """Write down what is being recorded, before nobody is left who could tell."""
    new = NOTE.with_suffix(".new")
    new.write_text(
        json.dumps(
            {"backend": backend, "attach": attach, "words": words, "begun": now()}
        )
    )
    new.replace(NOTE)


def forget() -> None:
    """What the note is about is over."""
    NOTE.unlink(missing_ok=True)


def find() -> dict[str, Any] | None:
    """
    What records without a recorder, as :func:`note` wrote it down; None if nothing
    does.
    """
    if kmod.loaded():
        backend, attach = kmod.KMOD, kmod.MODULE
    elif bpf.PINS.is_dir():
        backend, attach = bpf.BPF, bpf_programs.TRAMPOLINE
    else:
        return None
    told: dict[str, Any] = {}
    with contextlib.suppress(OSError, ValueError):
        told = json.loads(NOTE.read_text())
    if told.get("backend") != backend:
        told = {"attach": attach, "words": "what nobody has noted", "begun": None}
    return {**told, "backend": backend}
