# SPDX-License-Identifier: GPL-2.0-or-later
"""
What goes on recording with no recorder: a flight recorder that was left on purpose, or
the module of a recorder that was killed.

A note in ``/run`` says what it records; that is forgotten with the boot, as what it is
about.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import msgspec

from pagedbg.capture.backends import bpf, bpf_programs, kmod
from pagedbg.capture.this_boot import now
from pagedbg.schema.capture_meta import Attach, Backend, Begun
from pagedbg.schema.event_filter import EventFilter

NOTE = Path("/run/pagedbg.json")


class FlightRecorder(msgspec.Struct):
    """
    What records without a recorder; ``filter`` and ``begun`` are None where nobody has
    noted them.
    """

    backend: Backend
    attach: Attach
    filter: EventFilter | None = None
    begun: Begun | None = None


def note(backend: Backend, attach: Attach, filter_: EventFilter | None) -> None:
    """Write down what is being recorded, before nobody is left who could tell."""
    found = FlightRecorder(backend, attach, filter_, Begun(**now()))
    new = NOTE.with_suffix(".new")
    new.write_bytes(msgspec.json.encode(found))
    new.replace(NOTE)


def forget() -> None:
    """What the note is about is over."""
    NOTE.unlink(missing_ok=True)


def find() -> FlightRecorder | None:
    """
    What records without a recorder, as :func:`note` wrote it down; None if nothing
    does.
    """
    if kmod.loaded():
        found = FlightRecorder(kmod.KMOD, kmod.MODULE)
    elif bpf.PINS.is_dir():
        found = FlightRecorder(bpf.BPF, bpf_programs.COMBINED)
    else:
        return None
    with contextlib.suppress(OSError, msgspec.DecodeError):
        noted = msgspec.json.decode(NOTE.read_bytes(), type=FlightRecorder)
        if noted.backend == found.backend:
            return noted
    return found
