# SPDX-License-Identifier: GPL-2.0-or-later
"""What a recorder is asked to record: it packs that, and the capture says it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from test_recorder_full_disk import Memory, asked, stopped

from pagedbg.capture.backends import kmod
from pagedbg.capture.backends.backend import Backend
from pagedbg.capture.recording import flight_recorder, recorder_process
from pagedbg.capture.recording.flight_recorder import FlightRecorder
from pagedbg.schema.event_filter import EventFilter, OrderShare
from pagedbg.schema.event_record import HEADER
from pagedbg.schema.filter_record import FILTER, pack, unpack
from pagedbg.schema.recorded_names import RecordedNames, Zone

NAMES = RecordedNames(gfp=[(0x40000, "__GFP_COMP")], zones=[Zone(0, "DMA", 1, 4096)])
FIRST = EventFilter(orders=(OrderShare(4, 4),), gfp=("__GFP_COMP",))
SECOND = EventFilter(zone=("DMA",), comm=("sh",))


class Told(Memory):
    """Memory in which a filter is in force."""

    def __init__(self, filter_: NDArray[Any]) -> None:
        super().__init__()
        self._header = np.zeros(1, HEADER)
        self._filters = np.zeros(2, FILTER)
        self._filters[0] = filter_

    def set_filter(self, filter_: NDArray[Any]) -> None:
        self._filters[0] = filter_


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Told]:
    """The back ends that recorders have attached, or taken over."""
    made: list[Told] = []

    def attach(asked: dict[str, Any], filter_: NDArray[Any]) -> Backend:
        made.append(Told(filter_))
        return made[-1]

    def adopt(functions: dict[str, str], own: list[int]) -> Backend:
        made.append(Told(pack(FIRST, NAMES)))
        made[-1].leave_out(own)
        return made[-1]

    monkeypatch.setattr(recorder_process, "attach", attach)
    monkeypatch.setattr(recorder_process, "adopt", adopt)
    return made


def plain(value: Any) -> Any:
    return msgspec.to_builtins(value, str_keys=True)


def test_a_recorder_packs_each_filter_and_notes_it(
    told: list[Told], tmp_path: Path
) -> None:
    directory = tmp_path / "capture"
    recording = recorder_process.Recorder(
        asked(directory, filter=plain(FIRST), names=plain(NAMES), own=[12345])
    )
    (backend,) = told
    assert unpack(backend.in_force, NAMES) == FIRST
    recording.answer({"do": "filter", "filter": plain(SECOND)})
    assert backend.in_force["range"][0].tolist() == (1, 4095)
    assert backend.in_force["comms"] == 1
    # Neither what the recorder does is recorded, nor what its prompt does.
    assert {os.getpid(), 12345} <= set(backend.in_force["own"].tolist())
    meta = stopped(recording, directory).meta
    assert [each.filter for each in meta.filters] == [FIRST, SECOND]


@pytest.mark.parametrize("noted", [SECOND, None])
def test_what_is_taken_over_records_what_was_noted_or_what_is_in_force(
    told: list[Told], tmp_path: Path, noted: EventFilter | None
) -> None:
    directory = tmp_path / "capture"
    names = plain(NAMES)
    recording = recorder_process.Recorder(
        asked(directory, adopt=True, functions={}, filter=plain(noted), names=names)
    )
    meta = stopped(recording, directory).meta
    assert [each.filter for each in meta.filters] == [noted or FIRST]


@pytest.fixture
def note(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where the note is, on a machine whose kernel has the module loaded."""
    monkeypatch.setattr(flight_recorder, "NOTE", tmp_path / "pagedbg.json")
    monkeypatch.setattr(kmod, "PARAMETERS", tmp_path)
    return tmp_path / "pagedbg.json"


def test_what_records_by_itself_is_found_as_it_was_noted(note: Path) -> None:
    flight_recorder.note("kmod", "module", FIRST)
    found = flight_recorder.find()
    assert found is not None
    assert (found.backend, found.attach, found.filter) == ("kmod", "module", FIRST)
    assert found.begun is not None and found.begun.wall
    flight_recorder.forget()
    assert flight_recorder.find() == FlightRecorder("kmod", "module")


@pytest.mark.parametrize(
    ("text", "wall"),
    [
        ("", None),
        ("{", None),
        ('{"backend": "bpf", "attach": "trampoline", "filter": {}}', None),
        ('{"backend": "kmod", "attach": "module", "filter": {"stack": "x"}}', None),
        # Of a version that noted words.
        (
            '{"backend": "kmod", "attach": "module", "words": "--orders 4",'
            ' "begun": {"mono_ns": 1, "wall": "then"}}',
            "then",
        ),
    ],
)
def test_a_note_that_says_nothing_of_the_filter_makes_up_none(
    note: Path, text: str, wall: str | None
) -> None:
    note.write_text(text)
    found = flight_recorder.find()
    assert found is not None
    assert (found.backend, found.filter) == ("kmod", None)
    assert (found.begun.wall if found.begun else None) == wall
