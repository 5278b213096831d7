# SPDX-License-Identifier: GPL-2.0-or-later
"""
The module back end: loads the kernel module of ``kmod/``, tells it what to record, and
maps its rings.

The orders are set through ``/proc/page_order``, the other filters by writing to
``/dev/pagedbg``, which is what is mapped, too.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pagedbg import trust
from pagedbg.capture.backends.backend import Backend, check_header, check_heard
from pagedbg.capture.backends.bpf_programs import KPROBE, TRACEPOINT
from pagedbg.capture.backends.kmod_build import NAME, module_file
from pagedbg.errors import PagedbgError
from pagedbg.schema.capture_meta import KMOD, MODULE, Attach, module_attach
from pagedbg.schema.event_record import (
    CPU,
    FREEZE,
    HEADER,
    KINDS_BY_NAME,
    RECORD,
    TRACEPOINTS,
)
from pagedbg.schema.filter_record import FILTERS
from pagedbg.schema.freezing import FreezeOn
from pagedbg.schema.stack_record import STACK, addresses_of, stacks_behind

DEVICE, PARAMETERS = Path("/dev/pagedbg"), Path("/sys/module/pagedbg/parameters")

# struct pagedbg_layout of kmod/pagedbg.h, by what describe_kernel() calls it.
_LAYOUT = (
    "SIZEOF_PAGE_EXT",
    "OWNER_OFFSET",
    "SIZEOF_OWNER",
    *(
        f"OWNER_{member}"
        for member in (
            "order",
            "last_migrate_reason",
            "gfp_mask",
            "handle",
            "ts_nsec",
            "comm",
            "pid",
            "tgid",
        )
    ),
    "TAIL_TIMES",
)

# Its parameter hooks=.
_HOOKS: dict[Attach, str] = {MODULE: "tracepoint", KPROBE: "kprobe", TRACEPOINT: "kmem"}

# How often unloading is tried again while somebody looks at the device, at intervals of
# a tenth of a second.
_TRIES = 50


def loaded() -> bool:
    """Whether the module is there."""
    return PARAMETERS.exists()


class KmodBackend(Backend):
    """The module, loaded until :meth:`close`."""

    name = KMOD

    def __init__(self, functions: Mapping[str, str]) -> None:
        self._descriptor = _open()
        try:
            self._map()
            names = dict(line.split() for line in _parameter("functions").splitlines())
            self.attach = module_attach(names)
            if self.attach == TRACEPOINT and functions != TRACEPOINTS:
                # Its stacks are not those of page_owner's depot.
                raise PagedbgError(
                    "the module was loaded with hooks=kmem, which is for where"
                    " page_owner is off: rmmod pagedbg removes it"
                )
        except BaseException:
            # While it is open, it cannot be unloaded.
            os.close(self._descriptor)
            raise
        self.functions = {
            event: names[word]
            for event in functions
            if (word := KINDS_BY_NAME[event].word) in names
        }
        self.failed = {
            event: "the module has no probe there"
            for event in functions
            if event not in self.functions
        }

    @classmethod
    def load(
        cls,
        functions: Mapping[str, str],
        constants: Mapping[str, int | str],
        addresses: Mapping[str, int],
        *,
        slots: int,
        attach: Attach,
        filter_: NDArray[Any],
        freeze_on: FreezeOn,
    ) -> Self:
        """
        Load the module.

        :param functions: what each event should be taken from
        :param attach: ``module`` for tracepoints and ftrace, where the kernel has all
            of them, ``kprobe`` for kprobes alone, or ``tracepoint`` for tracepoints
            alone, where page_owner is off
        :param constants: what the module is told of page_owner, see
            :mod:`pagedbg.capture.backends.hooks`
        :param filter_: an element of :data:`~pagedbg.schema.filter_record.FILTER`, in
            force from the first event
        :param freeze_on: what stops the rings
        :raises PagedbgError: if the module cannot be had or loaded, with the reason
        """
        if loaded():
            raise PagedbgError(
                "the module is loaded already, by another pagedbg or one that has"
                " ended: trace attach takes it over"
            )
        check_heard(attach)
        told = []
        if attach != TRACEPOINT:
            numbers = *(constants[name] for name in _LAYOUT), addresses["dummy_handle"]
            told = [f"layout={','.join(map(str, numbers))}"]
        _insmod(
            module_file(),
            "events=none",
            f"hooks={_HOOKS[attach]}",
            f"ring_slots={slots}",
            f"freeze_on={freeze_on}",
            *told,
        )
        try:
            self = cls(functions)
        except BaseException:
            _rmmod()
            raise
        try:
            self.set_filter(filter_)
        except BaseException:
            self.close()
            raise
        return self

    @classmethod
    def adopt(cls, functions: Mapping[str, str]) -> Self:
        """
        Take over the module that somebody left.

        :param functions: what each event should be taken from
        :raises PagedbgError: if it is in use, or of another version
        """
        if int((PARAMETERS.parent / "refcnt").read_text()):
            raise PagedbgError(
                "another pagedbg records with the module: trace stop there, or wait"
                " for it"
            )
        return cls(functions)

    def _map(self) -> None:
        with mmap.mmap(self._descriptor, mmap.PAGESIZE, prot=mmap.PROT_READ) as first:
            header = np.frombuffer(first, HEADER, 1)[0].copy()
        check_header(
            header,
            "the module that is loaded is of another version of pagedbg: rmmod pagedbg"
            " removes it",
        )
        memory = mmap.mmap(self._descriptor, int(header["size"]), prot=mmap.PROT_READ)
        cpus, slots = int(header["cpus"]), int(header["slots"])
        self._header = np.frombuffer(memory, HEADER, 1)
        all_filters = np.frombuffer(memory, FILTERS, 1, int(header["filters_at"]))
        self._filters = all_filters["filter"][0]
        self._freeze = all_filters["freeze"]
        self._cpus = np.ndarray(
            (cpus,), CPU, memory, int(header["cpus_at"]), (int(header["cpu_stride"]),)
        )
        self._make_rings(
            np.frombuffer(memory, RECORD, cpus * slots, int(header["slots_at"])), slots
        )
        self._stacks = np.frombuffer(
            memory, STACK, *stacks_behind(header, mmap.PAGESIZE)
        )

    # ---- what the recorder asks ----

    def set_filter(self, filter_: NDArray[Any]) -> None:
        """
        Put a filter in force, all of it at once. One that already is in force is not
        written again: the one before stays in the spare place, for whoever has a dump.
        """
        if filter_.tobytes() != self.in_force.tobytes():
            self._write(filter_)

    def _write(self, filter_: NDArray[Any]) -> None:
        try:
            os.write(self._descriptor, filter_.tobytes())
        except OSError as error:
            # Frozen rings stay so.
            if error.errno != errno.EBUSY:
                raise

    def missed(self) -> int:
        """How often a probe could not run, or an event found no room to wait."""
        return int(_parameter("missed"))

    def stack(self, number: int) -> list[int]:
        """
        The return addresses of a stack in the module's table, innermost first; empty if
        it is not there.
        """
        if number >= len(self._stacks):
            return []
        return addresses_of(self._stacks[number])

    def detach(self) -> None:
        """
        Record nothing any more. What was recorded can be read until :meth:`close`.
        """
        nothing = self.in_force
        nothing["events"] = 0
        self._write(nothing)

    def close(self) -> None:
        """Unload the module; nobody may hold its rings any more."""
        self.rings, self._cpus = [], np.zeros(0, CPU)
        self._header, self._filters = np.zeros(0, HEADER), np.zeros(0, FILTERS)
        self._freeze, self._stacks = np.zeros(0, FREEZE), np.zeros(0, STACK)
        os.close(self._descriptor)
        _rmmod()


def _open() -> int:
    try:
        return os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise PagedbgError(f"{DEVICE}: {error.strerror}") from None


def _parameter(name: str) -> str:
    return (PARAMETERS / name).read_text()


_SECURE_BOOT = (
    "the kernel takes only modules with a signature that it knows (Secure Boot):"
    " install it with DKMS, and enroll DKMS's key with mokutil"
)
# Errors that say something else of modules than of files.
_WHY = {
    errno.EKEYREJECTED: _SECURE_BOOT,
    errno.ENOKEY: _SECURE_BOOT,
    errno.EPERM: (
        "the kernel takes no more modules (lockdown, or kernel.modules_disabled)"
    ),
    errno.ENOEXEC: "it was built for another kernel than the one that runs",
    errno.ENOENT: "Unknown symbol in module",
    errno.ESRCH: "Module has wrong symbol version",
    errno.EINVAL: "Invalid parameters",
}

# How DKMS packs a module where the distribution's kernel has its own packed. Not every
# kernel unpacks them itself.
_UNPACK = {".xz": "xz", ".zst": "zstd", ".gz": "gzip"}


def _insmod(path: Path, *parameters: str) -> None:
    """
    Load what is in a file: what was found to be nobody else's, whatever is at its path
    by then.
    """
    image = _image(path)
    since = _log()
    libc = ctypes.CDLL(None, use_errno=True)
    if (
        libc.init_module(
            image, ctypes.c_ulong(len(image)), " ".join(parameters).encode()
        )
        == 0
    ):
        return
    number = ctypes.get_errno()
    said = [
        line.partition(f"{NAME}: ")[2]
        for line in _log()[len(since) :]
        if f";{NAME}: " in line
    ]
    raise PagedbgError(
        "the module cannot be loaded:"
        f" {said[-1] if said else _WHY.get(number, os.strerror(number))}"
    )


def _image(path: Path) -> bytes:
    try:
        image = trust.read(path)
    except OSError as error:
        raise PagedbgError(
            f"the module cannot be loaded from {path}: {error.strerror}"
        ) from None
    name = _UNPACK.get(path.suffix)
    if name is None:
        return image
    unpack = trust.program(name)
    if unpack is None:
        raise PagedbgError(
            f"the module cannot be unpacked without {name}: apt install"
            f" {name.replace('xz', 'xz-utils')}"
        )
    done = subprocess.run(
        [unpack, "-dc"],
        input=image,
        capture_output=True,
        check=False,
        cwd="/",
        env=trust.environment(),
    )
    if done.returncode:
        raise PagedbgError(f"the module cannot be loaded: {path} is damaged")
    return done.stdout


def _rmmod() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    for _ in range(_TRIES):
        if libc.delete_module(NAME.encode(), os.O_NONBLOCK) == 0 or not loaded():
            return
        time.sleep(0.1)


def _log() -> list[str]:
    """The kernel's log, a line a message."""
    lines: list[str] = []
    with contextlib.suppress(OSError):
        descriptor = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
        try:
            while True:
                try:
                    lines.append(os.read(descriptor, 1 << 13).decode(errors="replace"))
                except BrokenPipeError:
                    continue
                except BlockingIOError:
                    break
        finally:
            os.close(descriptor)
    return lines


__all__ = ("DEVICE", "KMOD", "MODULE", "PARAMETERS", "KmodBackend", "loaded")
