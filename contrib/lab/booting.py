# SPDX-License-Identifier: GPL-2.0-or-later
"""What whoever makes QEMU's command line has to know of a guest."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from kernels import Kernel

# How the guest mounts this machine's files: it keeps what it has read, so that starting
# Python a second time takes a fraction. What changes here while it runs, it does not
# see; directories given as `rw` are mounted apart from this.
ROOT_FLAGS = "version=9p2000.L,trans=virtio,access=any,msize=512000,cache=loose"


@dataclasses.dataclass(frozen=True)
class Booting:
    """
    A guest that is about to be: its kernel, ``memory`` as QEMU takes it, what the
    kernel's command line has beside what every one has (``append``), and which
    directories it may write to (``rw``). ``modules`` is what is
    ``/lib/modules/$(uname -r)`` there, ``agent`` the program that it runs, ``scratch``
    a directory that ends with it; the file ``console`` in that is its console.
    """

    kernel: Kernel
    memory: str
    cpus: int
    append: Sequence[str]
    rw: Sequence[str]
    modules: Path
    agent: Path
    scratch: Path
    kvm: bool
    say: Callable[[str], None]
