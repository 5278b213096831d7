# SPDX-License-Identifier: GPL-2.0-or-later
"""Attach a back end, by whichever way can be had, or take over one that is attached."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from numpy.typing import NDArray

from pagedbg.capture.backends.backend import Backend
from pagedbg.capture.backends.bpf import BPF, BpfBackend
from pagedbg.capture.backends.bpf_programs import (
    COMBINED,
    KPROBE,
    TRACEPOINT,
    TRAMPOLINE,
)
from pagedbg.capture.backends.kmod import KMOD, MODULE, KmodBackend
from pagedbg.capture.recording import flight_recorder
from pagedbg.errors import PagedbgError
from pagedbg.schema import capture_meta
from pagedbg.schema.event_filter import EventFilter
from pagedbg.schema.filter_record import pack
from pagedbg.schema.freezing import FreezeOn
from pagedbg.schema.recorded_names import RecordedNames


def attach(asked: dict[str, Any], filter_: NDArray[Any]) -> Backend:
    """
    Attach the first back end that can be, in one of its ways, of those that are asked
    for.

    :raises PagedbgError: if none can, with all reasons
    """
    known = asked["functions"], asked["constants"], asked["addresses"]
    freeze_on = msgspec.convert(asked["freeze_on"], FreezeOn)
    reasons: dict[str, list[str]] = {}
    for backend, way in _ways(asked):
        try:
            if backend in asked["unusable"]:
                raise PagedbgError(asked["unusable"][backend])
            if backend == KMOD:
                return KmodBackend.load(
                    *known,
                    slots=asked["slots"],
                    attach=way,
                    filter_=filter_,
                    freeze_on=freeze_on,
                )
            if way == COMBINED and asked["unknown"]:
                raise PagedbgError(asked["unknown"])
            return BpfBackend.load(
                *known,
                slots=asked["slots"],
                attach=way,
                filter_=filter_,
                freeze_on=freeze_on,
                untold=asked["untold"],
            )
        except PagedbgError as error:
            # What one way lacks others may lack, too.
            why = str(error).rstrip(".")
            if why not in reasons.setdefault(backend, []):
                reasons[backend].append(why)
    raise PagedbgError(
        "; ".join(
            f"{backend}: {'; '.join(why)}" if len(reasons) > 1 else "; ".join(why)
            for backend, why in reasons.items()
        )
    )


def _ways(
    asked: dict[str, Any],
) -> list[tuple[capture_meta.Backend, capture_meta.Attach]]:
    if not asked["kernel"]["page_owner"]:
        return [(backend, TRACEPOINT) for backend in asked["backends"]]
    by_itself: list[capture_meta.Attach] = [COMBINED, TRAMPOLINE]
    if not asked["flight"]:
        # It would end with us.
        by_itself.append(KPROBE)
    ways: dict[capture_meta.Backend, list[capture_meta.Attach]] = {
        BPF: by_itself if asked["attach"] == "auto" else [asked["attach"]],
        KMOD: [KPROBE if asked["attach"] == KPROBE else MODULE],
    }
    return [(backend, way) for backend in asked["backends"] for way in ways[backend]]


def adopt(functions: Mapping[str, str], own: list[int]) -> Backend:
    """
    Take over what goes on recording by itself.

    :param own: processes whose events are left out from now on
    :raises PagedbgError: if nothing does, or it cannot be taken over
    """
    found = flight_recorder.find()
    if found is None:
        raise PagedbgError(
            "nothing records by itself: trace start --flight has something do so"
        )
    backend: Backend = (
        KmodBackend.adopt(functions)
        if found.backend == KMOD
        else BpfBackend.adopt(found.attach)
    )
    backend.leave_out(own)
    return backend


def leave(asked: dict[str, Any]) -> dict[str, Any]:
    """
    Have events recorded with nobody to drain the rings.

    :return: what is attached, as in a capture's ``meta.json``
    :raises PagedbgError: if that cannot be, with the reason
    """
    if flight_recorder.find() is not None:
        raise PagedbgError(
            "something records by itself already: trace attach takes it over"
        )
    filter_ = msgspec.convert(asked["filter"], EventFilter)
    names = msgspec.convert(asked["names"], RecordedNames, str_keys=True)
    backend = attach(asked, pack(filter_, names))
    if isinstance(backend, BpfBackend):
        try:
            backend.pin()
        except BaseException:
            backend.close()
            raise
    flight_recorder.note(backend.name, backend.attach, filter_)
    return {
        "backend": backend.name,
        "attach": backend.attach,
        "functions": backend.functions,
        "failed": backend.failed,
    }
