# SPDX-License-Identifier: GPL-2.0-or-later
"""
A directory of somebody who hopes that root comes by: modules and programs under the
names of those that are often used, a home, links. Each says that it was swallowed when
it is run. As a program it makes one: ``poison.py DIRECTORY``.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path

STRANGER = 65533

MODULES = (
    "argparse",
    "base64",
    "json",
    "pathlib",
    "re",
    "sitecustomize",
    "socket",
    "struct",
    "subprocess",
    "typing",
    "usercustomize",
)
PACKAGES = ("bcc", "drgn", "duckdb", "numpy", "pagedbg", "prompt_toolkit", "rich")
PROGRAMS = (
    "gcc",
    "gzip",
    "insmod",
    "ld",
    "less",
    "make",
    "modinfo",
    "more",
    "only-theirs",
    "python3",
    "rmmod",
    "sh",
    "xz",
    "zstd",
)


class Poison:
    """Poison in a directory, which is made. :attr:`environment` leads to it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.programs = directory / "bin"
        self.home = directory / "home"
        self.victim = directory.with_name(f"{directory.name}.victim")
        self._markers = directory / "swallowed"
        self._make()
        self.environment = {
            "DRGN_PLUGINS": f"stranger={directory / 'json.py'}",
            "HOME": str(self.home),
            "LESSOPEN": f"|{self.programs / 'only-theirs'} %s",
            "MAKEFLAGS": f"--eval=$(shell {self.programs / 'only-theirs'})",
            "PATH": f"{self.programs}:.:/usr/bin:/bin",
            "PYTHONPATH": str(directory),
            "XDG_CACHE_HOME": str(self.home / ".cache"),
            "XDG_STATE_HOME": str(self.home / ".local" / "state"),
        }

    def swallowed(self) -> list[str]:
        """What was run, by its path."""
        return (
            sorted(self._markers.read_text().splitlines())
            if self._markers.exists()
            else []
        )

    def _make(self) -> None:
        version = f"python{sysconfig.get_python_version()}"
        user_site = self.home / ".local" / "lib" / version / "site-packages"
        for place in (self.directory, user_site):
            for name in MODULES:
                self._module(place / f"{name}.py")
            for name in PACKAGES:
                self._module(place / name / "__init__.py")
        (user_site / "stranger.pth").write_text(
            f"import sys; open({str(self._markers)!r}, 'a').write('stranger.pth\\n')\n"
        )
        for name in PROGRAMS:
            self._program(self.programs / name)
        self.victim.write_text("untouched\n")
        self.victim.chmod(0o644)
        for name in ("bpf", "kmod"):
            self._link(self.home / ".cache" / "pagedbg" / name, self.directory)
        self._link(self.home / ".local" / "state" / "pagedbg" / "history", self.victim)
        for path in (self.directory, *self.directory.rglob("*")):
            if os.geteuid() == 0:
                os.chown(path, STRANGER, STRANGER, follow_symlinks=False)

    def _module(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            f"open({str(self._markers)!r}, 'a').write(__file__ + '\\n')\nraise"
            " ImportError('poison')\n"
        )

    def _program(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'#!/bin/sh\necho "$0" >>{self._markers}\nexit 1\n')
        path.chmod(0o755)

    def _link(self, path: Path, to: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(to)


if __name__ == "__main__":
    Poison(Path(sys.argv[1]))
