# SPDX-License-Identifier: GPL-2.0-or-later
"""
The wheels of what pagedbg depends on, for some Python and in some versions, kept in the
lab's cache so that only the first run needs a network.
"""

from __future__ import annotations

import hashlib
import platform
import shutil
import subprocess
import sys
import time
import tomllib
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import kernels
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]

Versions = Literal["lowest", "newest"]

# What runs the tests, and reads what is written for others.
TOOLS = ("hypothesis", "pexpect", "pytest", "pytest-xdist", "perfetto", "protobuf")

# After so many seconds it is asked whether there are newer versions.
FRESH = 7 * 86400

# The C libraries that wheels may be built for: from that of CentOS 5 to Debian 12's.
PLATFORMS = [
    "any",
    *(f"manylinux_2_{minor}_{platform.machine()}" for minor in range(5, 37)),
    f"manylinux2014_{platform.machine()}",
]


class NoWheelsError(Exception):
    """They are not in the cache and cannot be had; its text is one sentence."""


def dependencies(versions: Versions) -> list[str]:
    """
    What ``pyproject.toml`` asks for: as it stands there, or each at its lowest version.
    """
    listed = map(
        Requirement,
        tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"],
    )
    return [
        str(each) if versions == "newest" else f"{each.name}=={lowest(each)}"
        for each in listed
    ]


def lowest(requirement: Requirement) -> str:
    """The lowest version that a requirement takes."""
    (bound,) = (part.version for part in requirement.specifier if part.operator == ">=")
    return bound


def wheels(python: str, versions: Versions) -> Path:
    """
    Return a directory with the wheels of all dependencies and of :data:`TOOLS`.

    :param python: ``3.13``
    :raises NoWheelsError: if they cannot be had
    """
    wanted = [*dependencies(versions), *TOOLS]
    key = hashlib.sha256(repr((sorted(wanted), PLATFORMS)).encode()).hexdigest()[:8]
    found = kernels.cache_root() / "wheels" / f"{python}-{versions}-{key}"
    with kernels.locked(found.parent / f".lock-{python}-{versions}"):
        # What is the newest changes without anybody changing pyproject.toml.
        if not found.exists() or (
            versions == "newest" and time.time() - found.stat().st_mtime > FRESH
        ):
            _download(python, wanted, found)
    return found


def _download(python: str, wanted: Sequence[str], into: Path) -> None:
    new = into.with_name(into.name + ".new")
    shutil.rmtree(new, ignore_errors=True)
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--disable-pip-version-check",
        "--only-binary=:all:",
    ]
    command += [
        f"--python-version={python}",
        "--implementation=cp",
        *(f"--platform={name}" for name in PLATFORMS),
        f"--dest={new}",
    ]
    run = subprocess.run(
        [*command, *wanted], capture_output=True, text=True, check=False
    )
    if run.returncode == 0:
        # Of another pyproject.toml, and of an earlier week.
        for older in into.parent.glob(f"{'-'.join(into.name.split('-')[:2])}-????????"):
            shutil.rmtree(older)
        new.rename(into)
        into.touch()
    elif into.exists():
        # In what pytest says at the end.
        asked = time.strftime("%F", time.localtime(into.stat().st_mtime))
        warnings.warn(
            f"Newer wheels for Python {python} could not be asked for: those of {asked}"
            " are used.",
            stacklevel=1,
        )
    else:
        why = next(
            (line for line in run.stderr.splitlines() if line.startswith("ERROR: ")),
            "ERROR: pip said nothing",
        ).removeprefix("ERROR: ")
        raise NoWheelsError(
            f"the wheels for Python {python} are not in the cache, and pip could not"
            f" download them ({why}): run this once with a network."
        )
