# SPDX-License-Identifier: GPL-2.0-or-later
"""
The modules that guests are given: the kernel's own, and those to try things on, each
built for a kernel once, in the lab's cache.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

import kernels
from kernels import Kernel, LabError
from stock import StockKernel

HERE = Path(__file__).resolve().parent


def modules_directory(kernel: Kernel) -> Path:
    """
    What becomes ``/lib/modules/$(uname -r)`` in the guest: a directory with a link to
    the build directory; of Debian's own kernels, all of their modules, too.
    """
    if isinstance(kernel, StockKernel):
        return kernel.modules
    directory = kernels.cache_root() / "modules" / kernel.directory.name
    directory.mkdir(parents=True, exist_ok=True)
    link = directory / "build"
    if not link.is_symlink():
        link.symlink_to(kernel.directory)
    return directory


def blocks_module(kernel: Kernel) -> Path:
    """
    The test module ``pagedbg_blocks.ko`` for ``kernel``, built unless the cache has it.
    """
    return build_module(HERE / "blocks", kernel) / "pagedbg_blocks.ko"


def churn_module(kernel: Kernel) -> Path:
    """``pagedbg_churn.ko``, which allocates and frees on demand."""
    return build_module(HERE / "churn", kernel) / "pagedbg_churn.ko"


def request_module(kernel: Kernel) -> Path:
    """``pagedbg_request.ko``, which asks for pages on demand."""
    return build_module(HERE / "request", kernel) / "pagedbg_request.ko"


def leaky_module(kernel: Kernel) -> Path:
    """``leaky.ko``, a driver with a bug."""
    return build_module(HERE / "leaky", kernel) / "leaky.ko"


def pollute_module(kernel: Kernel) -> Path:
    """``pagedbg_pollute.ko``, which keeps known pageblocks from being free."""
    return build_module(HERE / "pollute", kernel) / "pagedbg_pollute.ko"


def holders_module(kernel: Kernel) -> Path:
    """
    ``pagedbg_holders.ko``, whose pages structures of the kernel name the holder of.
    """
    return build_module(HERE / "holders", kernel) / "pagedbg_holders.ko"


def meter_module(kernel: Kernel) -> Path:
    """``meter.ko``, a driver that keeps a page of each program."""
    return build_module(HERE / "order9", kernel) / "meter.ko"


def camera_module(kernel: Kernel) -> Path:
    """``camera.ko``, a driver that needs memory in large pieces."""
    return build_module(HERE / "order9", kernel) / "camera.ko"


def build_module(source: Path, kernel: Kernel) -> Path:
    """
    Build the module whose Kbuild is in ``source`` for ``kernel``, in a copy of its own;
    returns the copy.
    """
    files = sorted(
        p
        for p in source.iterdir()
        if p.suffix in (".c", ".h") or p.name in ("Kbuild", "Makefile")
    )
    return build_files(source.name, files, kernel)


def build_files(name: str, files: list[Path], kernel: Kernel) -> Path:
    """Build the module that some files are the source of; returns where."""
    key = hashlib.sha256(
        b"\0".join(p.name.encode() + b"\0" + p.read_bytes() for p in files)
    ).hexdigest()[:8]
    copy = kernels.cache_root() / "built" / f"{name}-{kernel.directory.name}-{key}"
    with kernels.locked(copy.parent / ".lock"):
        if not (copy / ".done").exists():
            compile_module(files, kernel, copy)
    return copy


def compile_module(files: list[Path], kernel: Kernel, copy: Path) -> None:
    """
    Build a module in ``copy``; ``.done`` is written last, so a build that was cut short
    is begun again.
    """
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir(parents=True)
    for path in files:
        shutil.copy2(path, copy)
    make = subprocess.run(
        ["make", "-C", str(kernel.build_directory), f"M={copy}", "modules"],
        env=kernel.make_environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if make.returncode:
        raise LabError(
            f"{copy.name} was not built for"
            f" {kernel.version}:\n{make.stderr.strip()[-2000:]}"
        )
    (copy / ".done").touch()
