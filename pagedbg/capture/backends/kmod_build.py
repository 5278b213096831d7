# SPDX-License-Identifier: GPL-2.0-or-later
"""
The kernel module as a file: one that is installed (DKMS, which signs it, too), or built
for the running kernel and kept.
"""

from __future__ import annotations

import hashlib
import platform
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from pagedbg import trust
from pagedbg.capture.backends import bpf_image
from pagedbg.errors import PagedbgError

NAME = "pagedbg"

# What the module shares with the BPF programs.
_SHARED = (
    "ring.h",
    "events.h",
    "participation.h",
    "freeze.h",
    "no_owner.h",
    "kmem.h",
)

# Compiling under emulation takes its time.
_PATIENCE = 900


def sources() -> list[Path]:
    """The files that the module is built from."""
    bpf = bpf_image.sources()
    return [
        *sorted(
            path
            for path in (bpf.parent / "kmod").iterdir()
            if path.suffix in (".c", ".h") or path.name == "Kbuild"
        )
    ] + [bpf / name for name in _SHARED]


def module_file() -> Path:
    """
    Return the module for the running kernel. What is in it is to be had from
    :func:`pagedbg.trust.read`.

    :raises PagedbgError: if there is none, and it cannot be built, with the reason
    """
    release = platform.release()
    return _installed() or build(release, Path("/lib/modules") / release / "build")


def _installed() -> Path | None:
    modinfo = trust.program("modinfo")
    if modinfo is None:
        return None
    found = subprocess.run(
        [modinfo, "-n", NAME],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        env=trust.environment(),
    )
    path = Path(found.stdout.strip())
    return path if found.returncode == 0 and path.is_absolute() else None


def build(release: str, kernel: Path) -> Path:
    """
    Return the module for a kernel from the cache, building it if it is not there.

    :param kernel: the kernel's build directory, or its headers
    :raises PagedbgError: if it cannot be built, with the reason
    """
    if not kernel.is_dir():
        raise PagedbgError(
            "the module cannot be built, since this kernel's headers are not there:"
            f" apt install linux-headers-{release}"
        )
    try:
        trust.check(kernel)
    except OSError as error:
        raise PagedbgError(
            f"the module cannot be built with {kernel}, whose programs root would run"
            f" ({error.strerror}): build it there as the owner, install it below"
            f" /lib/modules/{release}, and run depmod"
        ) from None
    try:
        cache = Path(trust.cache_directory("kmod"))
    except OSError as error:
        raise PagedbgError(
            f"the module cannot be kept in {error.filename}: {error.strerror}"
        ) from None
    directory = cache / f"{release}-{_digest(kernel)}"
    built = directory / f"{NAME}.ko"
    if trust.is_trusted(built):
        return built
    for program in ("make", "gcc"):
        if not trust.program(program):
            raise PagedbgError(
                f"the module cannot be built without {program}: apt install {program}"
            )
    with tempfile.TemporaryDirectory(dir=cache, prefix="building-") as scratch:
        _make(kernel, Path(scratch))
        directory.mkdir(mode=0o700, exist_ok=True)
        (Path(scratch) / built.name).replace(built)
    return built


def _make(kernel: Path, where: Path) -> None:
    for path in sources():
        shutil.copyfile(path, where / path.name)
    try:
        done = subprocess.run(
            [trust.program("make") or "make", "-C", kernel, f"M={where}", "modules"],
            capture_output=True,
            text=True,
            check=False,
            timeout=_PATIENCE,
            cwd="/",
            env=trust.environment(),
        )
    except subprocess.TimeoutExpired:
        raise PagedbgError(f"the module was not built within {_PATIENCE} s.") from None
    except OSError as error:
        raise PagedbgError(
            f"the module cannot be built: {error.filename}: {error.strerror}"
        ) from None
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["make gave no reason"]
        told = next(
            (
                line
                for line in lines
                if re.search(r"error|not found|No such", line, re.IGNORECASE)
            ),
            lines[-1],
        )
        raise PagedbgError(f"the module cannot be built: {told.strip()}")


def _digest(kernel: Path) -> str:
    digest = hashlib.sha256()
    for path in sources():
        digest.update(path.read_bytes())
    # Another kernel may have the same release.
    for name in ("include/config/auto.conf", "Module.symvers"):
        if (kernel / name).exists():
            digest.update((kernel / name).read_bytes())
    return digest.hexdigest()[:16]
