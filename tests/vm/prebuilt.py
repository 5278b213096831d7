# SPDX-License-Identifier: GPL-2.0-or-later
"""
What pagedbg would build in a guest, built here, where it takes a twelfth of the time:
the module, and the BPF programs.

It is kept in the lab's cache, by kernel and source, and found in guests by
``$XDG_CACHE_HOME``. What is not there is built in the guest, as in the field; one test
of each back end has a cache of its own for that.
"""

from __future__ import annotations

import functools
import hashlib
import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import kernels
import modules
from guest import Guest
from stock import StockKernel

from pagedbg.capture.backends import bpf_programs, hooks, kmod_build
from pagedbg.capture.backends.bpf_programs import (
    COMBINED,
    KPROBE,
    TRACEPOINT,
    TRAMPOLINE,
)
from pagedbg.capture.backends.hooks import HookedKernel
from pagedbg.mm import page_ext, page_owner

CACHE = kernels.cache_root() / "pagedbg"

CPUS = 2
"""What guests have unless they are asked to have another number."""

# Slots of a ring, and how its programs are attached.
IMAGES = (
    (16384, COMBINED),
    (64, COMBINED),
    (256, COMBINED),
    (1024, COMBINED),
    (16384, TRAMPOLINE),
    (16384, KPROBE),
    (16384, TRACEPOINT),
)

# What a guest's answer to DESCRIBE depends on, beside its kernel.
DESCRIBED_BY = (hooks, page_ext, page_owner)

DESCRIBE = Path(__file__).with_name("describe.py")


@contextmanager
def ours() -> Iterator[None]:
    """Have pagedbg build into our cache."""
    with mock.patch.dict("os.environ", XDG_CACHE_HOME=str(CACHE)):
        yield


def module(kernel: kernels.Kernel) -> Path:
    """``pagedbg.ko`` for a kernel of the lab."""
    if kernel.arch == kernels.ARM64:
        # Where pagedbg builds it itself, there is nothing to cross.
        sources = kmod_build.sources()
        return modules.build_files("kmod", sources, kernel) / f"{kmod_build.NAME}.ko"
    with ours():
        return kmod_build.build(
            (kernel.directory / "include/config/kernel.release").read_text().strip(),
            kernel.directory,
        )


@functools.cache
def prepare(kernel: kernels.Kernel) -> None:
    """
    Have all that may be wanted in a guest of this kernel. In one of Debian's own it is
    built there.
    """
    if isinstance(kernel, StockKernel):
        return
    with kernels.locked(CACHE / ".lock"):
        module(kernel)
        if kernel.variant:
            return
        for on in (True, False) if kernel.series == "6.12" else (True,):
            compile_programs(
                described(kernel, on), IMAGES if on else [(16384, TRACEPOINT)]
            )


def compile_programs(kernel: HookedKernel, images: Iterable[tuple[int, str]]) -> None:
    """Compile BPF programs for ``images``."""
    with ours():
        for slots, attach in images:
            bpf_programs.image_for(
                bpf_programs.hooked(kernel.functions, attach),
                kernel.constants,
                CPUS,
                slots,
                attach,
            )


def described(kernel: kernels.Kernel, on: bool) -> HookedKernel:
    """
    What a back end is told of a kernel with page_owner on or off, asked of a guest once
    for all boots: addresses are of another.
    """
    digest = hashlib.sha256(
        b"".join(Path(str(each.__file__)).read_bytes() for each in DESCRIBED_BY)
    ).hexdigest()[:8]
    kept = CACHE / f"{kernel.directory.name}-{'on' if on else 'off'}-{digest}.json"
    if not kept.exists():
        with Guest(kernel, memory="512M", page_owner=on) as machine:
            said = machine.run([sys.executable, DESCRIBE], timeout=300).check().text
        kept.write_text(said)
    return HookedKernel(**json.loads(kept.read_text()))


__all__ = ("CACHE", "module", "prepare")
