# SPDX-License-Identifier: GPL-2.0-or-later
"""
What is loaded and attached of an image's programs: which program an event wants, and
how it gets to its function.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from pagedbg.capture.backends.bpf_calls import attach_kprobe
from pagedbg.capture.backends.bpf_image import Image
from pagedbg.capture.backends.bpf_programs import TRAMPOLINE
from pagedbg.capture.backends.captured_stderr import quiet
from pagedbg.capture.backends.libbcc import checked
from pagedbg.errors import PagedbgError
from pagedbg.schema.event_record import TRACEPOINTS
from pagedbg.schema.freezing import FAILURE, OOM_KILL, FreezeOn

COMPLETE: Final = "complete"
"""The program that records allocations which no tracepoint tells of."""

UNTOLD: Final = "untold"
"""The program that hears of them; what its links are of, in place of an event."""

# By reason, the programs that stop the rings, and the functions that they are attached
# to.
_FREEZING = {
    FAILURE: ("freeze_failure", "warn_alloc"),
    OOM_KILL: ("freeze_oom", "oom_kill_process"),
}

# enum bpf_prog_type
_KPROBE, _RAW_TRACEPOINT, _TRACING = 2, 17, 26
_LICENSE = b"GPL"


class Link(NamedTuple):
    """What is attached for an event, and to which function or tracepoint."""

    event: str
    function: str
    descriptor: int


class BpfLinks:
    """
    Programs of an image: ``programs`` are the descriptors of those that are loaded, by
    name, ``links`` those that are attached.
    """

    def __init__(self, lib: Any) -> None:
        """:param lib: libbcc"""
        self._lib = lib
        self.programs: dict[str, int] = {}
        self.links: list[Link] = []

    def attach(
        self,
        way: str,
        event: str,
        function: str,
        image: Image,
        maps: Mapping[str, int],
        cast: int,
    ) -> None:
        """
        Load what an event wants, and attach it in this way.

        :param maps: descriptors of the image's maps
        :param cast: BTF id of ``bpf_rdonly_cast()``
        :raises OSError: if that cannot be
        """
        for program, kind, target in programs_of(way, event, function):
            loaded = self._load(program, kind, image.linked(program, maps, cast))
            descriptor = checked(self._attached(loaded, program, kind, target))
            self.links.append(Link(event, target, descriptor))

    def attach_untold(
        self, places: Sequence[str], image: Image, maps: Mapping[str, int], cast: int
    ) -> None:
        """
        Load what hears of allocations that no tracepoint tells of, and attach it.

        :param places: as from :func:`~pagedbg.capture.backends.untold.find_untold`; the
            others are those of :meth:`attach`
        :raises OSError: if that cannot be
        """
        self._load(COMPLETE, _RAW_TRACEPOINT, image.linked(COMPLETE, maps, cast))
        loaded = self._load(UNTOLD, _KPROBE, image.linked(UNTOLD, maps, cast))
        for place in places:
            function, _, offset = place.partition("+")
            descriptor = attach_kprobe(loaded, function, int(offset, 16))
            self.links.append(Link(UNTOLD, place, descriptor))

    def attach_freezing(
        self, freeze_on: FreezeOn, image: Image, maps: Mapping[str, int]
    ) -> None:
        """
        Attach what stops the rings, if that is asked for.

        :raises PagedbgError: if that cannot be
        """
        if not freeze_on.reasons:
            return
        program, function = _FREEZING[freeze_on.reasons[0]]
        try:
            with quiet():
                loaded = self._load(program, _KPROBE, image.linked(program, maps))
                descriptor = attach_kprobe(loaded, function)
        except (KeyError, OSError) as error:
            why = error.strerror if isinstance(error, OSError) else "not known here"
            raise PagedbgError(
                f"--freeze-on {freeze_on} needs {function}(): {why}"
            ) from None
        self.links.append(Link(program, function, descriptor))

    def _load(self, program: str, kind: int, code: bytes) -> int:
        # By a program's name libbcc knows which function a trampoline is for.
        loaded = checked(
            self._lib.bcc_prog_load(
                kind, program.encode(), code, len(code), _LICENSE, 0, 0, None, 0
            )
        )
        self.programs[program] = loaded
        return loaded

    def _attached(self, loaded: int, program: str, kind: int, target: str) -> int:
        name = target.encode()
        if kind == _RAW_TRACEPOINT:
            return int(self._lib.bpf_attach_raw_tracepoint(loaded, name))
        if kind == _TRACING:
            return int(self._lib.bpf_attach_kfunc(loaded))
        if not program.endswith("_return"):
            return attach_kprobe(loaded, target)
        # With a limit of our own on pending returns libbcc would make an event in
        # tracefs, which stays when we are killed.
        probe = f"r_pagedbg_{os.getpid()}_{target}".encode()
        return int(self._lib.bpf_attach_kprobe(loaded, 1, probe, name, 0, 0))

    def end(self, event: str) -> bool:
        """Detach what is attached for an event; whether anything was."""
        ended = [link for link in self.links if link.event == event]
        for link in ended:
            os.close(link.descriptor)
            self.links.remove(link)
        return bool(ended)

    def close(self) -> None:
        """Detach and let go of all."""
        for descriptor in (
            *(link.descriptor for link in self.links),
            *self.programs.values(),
        ):
            os.close(descriptor)
        self.links, self.programs = [], {}


def programs_of(way: str, event: str, function: str) -> list[tuple[str, int, str]]:
    """
    The programs that an event wants, in the order in which they are attached: name,
    type, and the function or tracepoint.
    """
    word = event.replace(" ", "_")
    if function in TRACEPOINTS.values():
        return [(f"raw_tracepoint__{function}", _RAW_TRACEPOINT, function)]
    if way == TRAMPOLINE:
        kind = "kretfunc" if event == "set" else "kfunc"
        return [(f"{kind}__{function}", _TRACING, function)]
    if event != "set":
        return [(f"{word}_entry", _KPROBE, function)]
    return [
        (f"{word}_return", _KPROBE, function),
        (f"{word}_entry", _KPROBE, function),
    ]
