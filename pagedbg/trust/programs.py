# SPDX-License-Identifier: GPL-2.0-or-later
"""What is started: ourselves, other Pythons of ours, and programs."""

from __future__ import annotations

import os
import sys

from pagedbg.trust.files import is_root, is_trusted

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_START = os.path.join(_PACKAGE, "start.py")

# Where root's programs are, and what who has become root by su has not in his path.
_PATH, _ALSO = "/usr/sbin:/usr/bin:/sbin:/bin", "/usr/sbin:/sbin"

# Of root's environment, what programs are given that we start for our own ends: words,
# no places where code is looked for. The place of the cache is looked at before it is
# used. With the last a NumPy is told what the CPU does badly.
_KEPT = ("LANG", "LANGUAGE", "TERM", "TZ", "XDG_CACHE_HOME", "NPY_DISABLE_CPU_FEATURES")

# Environment variables by which modules get into our own process: drgn imports what
# this one names.
_IMPORTED_FROM = ("DRGN_PLUGINS",)


def isolate() -> None:
    """
    See to it that as root nothing is imported that somebody else has written: start
    again if this Python is not isolated, and forget the variables by which others add
    to it.

    Python itself has run by then what ``.pth`` files, ``sitecustomize`` and
    ``PYTHONPATH`` had it run: only who starts it can keep it from that, as the launcher
    that ``make install`` puts on the path does, and so does not come here. Starting
    again takes some 20 ms.
    """
    if not is_root():
        return
    for name in _IMPORTED_FROM:
        os.environ.pop(name, None)
    if not sys.flags.isolated:
        options = [
            f"-X{name}" if value is True else f"-X{name}={value}"
            for name, value in sys._xoptions.items()
        ]
        os.execv(
            sys.executable,
            [*_isolated(), *options, _START, "pagedbg", *sys.argv[1:]],
        )


class NoCurrentDirectory:
    """
    For the time of a block, have nothing imported from the current directory or a place
    relative to it: drgn puts it first for its own prompt, and much is imported only
    when a command needs it.
    """

    def __enter__(self) -> None:
        self._before = list(sys.path)
        sys.path[:] = [place for place in sys.path if os.path.isabs(place)]

    def __exit__(self, *_: object) -> None:
        sys.path[:] = self._before


def python(module: str) -> list[str]:
    """
    The command that runs a module of the pagedbg that runs now, and of no other, in a
    Python of its own, which imports nothing from the current directory, from the user's
    own packages or from where an environment variable says. To be started with
    :func:`environment`.
    """
    return [*_isolated(), _START, module]


def _isolated() -> list[str]:
    # PYTHONDONTWRITEBYTECODE, which it would not look at, executes nothing.
    return [sys.executable, "-I", *(["-B"] if sys.dont_write_bytecode else [])]


def environment() -> dict[str, str]:
    """What a program is given that we start for our own ends."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not is_root() or name in _KEPT or name.startswith("LC_")
    }
    return {**kept, "PATH": search_path()}


def chosen_environment() -> dict[str, str]:
    """
    What a program is given that the user has chosen beforehand, such as a pager, and
    may have set up. With ``sudo -E``, when ``$HOME`` is not root's, it is not root who
    has: then it is only :func:`environment`.
    """
    if is_root() and not is_trusted(os.environ.get("HOME", "/nonexistent")):
        return environment()
    return {**os.environ, "PATH": search_path()}


def search_path() -> str:
    """
    Where programs are looked for: as root, of ``$PATH`` the directories that only root
    can write to.
    """
    places = os.environ.get("PATH", _PATH).split(":")
    if is_root():
        places = [
            place for place in places if os.path.isabs(place) and is_trusted(place)
        ] or _PATH.split(":")
    return ":".join(
        [*places, *(place for place in _ALSO.split(":") if place not in places)]
    )


def program(name: str) -> str | None:
    """The path of a program, None if there is none that may be run."""
    for place in search_path().split(":"):
        path = os.path.join(place, name)
        if (
            os.path.isfile(path)
            and os.access(path, os.X_OK)
            and (not is_root() or is_trusted(path))
        ):
            return path
    return None
