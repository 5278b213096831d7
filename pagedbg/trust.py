# SPDX-License-Identifier: GPL-2.0-or-later
"""
Whom pagedbg trusts: as root, only root. Every file that is executed or loaded, every
program and every Python that is started, and every place that something is kept in is
had from here.

Root may stand in a directory of somebody else, with an environment of somebody else
(``sudo -E``). So a file is taken only if root owns it and every directory on its way,
links included, and nobody else may write to them; and what is started gets an
environment of ours. Who is not root trusts his own environment: it can do nothing that
he could not.

This is imported before anything else is, when Python may still look for modules in
places that are not to be trusted: it imports only what Python has loaded by then.
"""

from __future__ import annotations

import os
import stat
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_START = os.path.join(os.path.dirname(os.path.abspath(__file__)), "start.py")

# Where root's programs are, and what who has become root by su has not in his path.
_PATH, _ALSO = "/usr/sbin:/usr/bin:/sbin:/bin", "/usr/sbin:/sbin"

# Of root's environment, what programs are given that we start for our own ends: words,
# no places where code is looked for. The place of the cache is looked at before it is
# used. With the last a NumPy is told what the CPU does badly.
_KEPT = ("LANG", "LANGUAGE", "TERM", "TZ", "XDG_CACHE_HOME", "NPY_DISABLE_CPU_FEATURES")

# Environment variables by which modules get into our own process: drgn imports what
# this one names.
_IMPORTED_FROM = ("DRGN_PLUGINS",)

_MOST_LINKS = 40
_O_PATH = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_EPERM, _ELOOP, _ENOENT = 1, 40, 2


class Untrusted(PermissionError):
    """Somebody else may have written this. ``strerror`` says why."""

    def __init__(self, why: str, path: str) -> None:
        super().__init__(_EPERM, why, path)


def is_root() -> bool:
    """Whether this process may do harm."""
    return os.geteuid() == 0


# ---- what is started ----


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
            [sys.executable, "-I", *options, _START, "pagedbg", *sys.argv[1:]],
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
    return [sys.executable, "-I", _START, module]


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


# ---- files ----


def is_trusted(path: str | os.PathLike[str]) -> bool:
    """
    Whether what is at a path is there, and was written by nobody else. What is not to
    change before it is used is to be had from :func:`read`.
    """
    try:
        os.close(_checked(os.fspath(path))[0])
    except OSError:
        return False
    return True


def check(path: str | os.PathLike[str]) -> None:
    """
    :raises Untrusted: if somebody else may have written what is at a path, or may put
        something else there
    :raises OSError: if it is not there
    """
    os.close(_checked(os.fspath(path))[0])


def read(path: str | os.PathLike[str]) -> bytes:
    """
    Return what is in a regular file, of which it is known that nobody else has written
    it.

    :raises Untrusted: if somebody else may have
    :raises OSError: if it cannot be read
    """
    where = os.fspath(path)
    found, _ = _checked(where)
    try:
        if not stat.S_ISREG(os.fstat(found).st_mode):
            raise Untrusted("it is no regular file", where)
        # The file that was looked at, whatever is at its path by now.
        descriptor = os.open(f"/proc/self/fd/{found}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(found)
    with open(descriptor, "rb") as file:
        return file.read()


def open_private(path: str | os.PathLike[str]) -> int:
    """
    Open a file of ours for reading and appending, that nobody else can read; it is made
    if it is not there, and so is its directory.

    :return: a descriptor
    :raises Untrusted: if what is there is not ours, or is a link
    :raises OSError: if it cannot be had
    """
    where, name = os.path.split(os.fspath(path))
    at, _ = _walk(where, make=True)
    try:
        flags = (
            os.O_RDWR
            | os.O_APPEND
            | os.O_CREAT
            | os.O_NOFOLLOW
            | os.O_NONBLOCK
            | os.O_CLOEXEC
        )
        try:
            descriptor = os.open(name, flags, 0o600, dir_fd=at)
        except OSError as error:
            if error.errno == _ELOOP:
                raise Untrusted("it is a link", os.fspath(path)) from None
            error.filename = os.fspath(path)
            raise
    finally:
        os.close(at)
    try:
        found = os.fstat(descriptor)
        if (
            not stat.S_ISREG(found.st_mode)
            or found.st_uid != os.geteuid()
            or found.st_nlink != 1
        ):
            raise Untrusted("it is no file of ours", os.fspath(path))
        if stat.S_IMODE(found.st_mode) != 0o600:
            os.fchmod(descriptor, 0o600)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


# ---- places ----


def cache_directory(*names: str) -> str:
    """
    Where to keep what can be made again, below it a directory called ``names``: for
    root ``/var/cache/pagedbg``, for others ``~/.cache/pagedbg``, unless
    ``$XDG_CACHE_HOME`` names another place that is to be trusted. It is made if it is
    not there.

    :return: the path, in which there are no links
    :raises OSError: if there is none
    """
    return _place(_candidates("XDG_CACHE_HOME", "~/.cache", "/var/cache"), names)


def state_directory() -> str:
    """
    As :func:`cache_directory`, what is remembered: ``/var/lib/pagedbg``,
    ``~/.local/state/pagedbg`` or below ``$XDG_STATE_HOME``.
    """
    return _place(_candidates("XDG_STATE_HOME", "~/.local/state", "/var/lib"), ())


def _candidates(variable: str, own: str, of_root: str) -> Iterator[str]:
    chosen = os.environ.get(variable, "")
    if os.path.isabs(chosen):
        yield chosen
        if not is_root():
            return
    place = of_root if is_root() else os.path.expanduser(own)
    if not os.path.isabs(place):
        raise FileNotFoundError(_ENOENT, "there is no home directory", place)
    yield place


def _place(candidates: Iterator[str], names: tuple[str, ...]) -> str:
    """
    The first place that can be trusted. Where the first cannot be made for another
    reason, it is not made elsewhere.
    """
    distrust: Untrusted | None = None
    for place in candidates:
        try:
            at, path = _walk(os.path.join(place, "pagedbg", *names), make=True)
        except Untrusted as error:
            distrust = error
            continue
        owner = os.fstat(at).st_uid
        os.close(at)
        if owner == os.geteuid():
            return path
        distrust = Untrusted(f"it belongs to user {owner}", path)
    assert distrust is not None
    raise distrust


# ---- the way to a file ----


def _checked(path: str) -> tuple[int, str]:
    """
    Open (``O_PATH``) what is at a path, which has to be trusted: as root the whole way,
    of a user's own files they and their directory.
    """
    found, real = _walk(os.path.abspath(path))
    if not is_root():
        try:
            for place in (real, os.path.dirname(real)):
                _check(os.stat(place), place)
        except BaseException:
            os.close(found)
            raise
    return found, real


def _walk(path: str, *, make: bool = False) -> tuple[int, str]:
    """
    Go to an absolute path by descriptors, a component after the other, so that nothing
    can be exchanged meanwhile.

    :param make: make the directories that are not there
    :return: a descriptor (``O_PATH``), and the path without links
    :raises Untrusted: as root, if any component, or a link on the way, is not root's,
        or can be written to by others
    """
    way: list[tuple[int, str]] = [(os.open("/", _O_PATH), "")]
    ahead, links = path.split("/")[::-1], 0

    def here() -> str:
        return "/".join(name for _, name in way) or "/"

    try:
        while ahead:
            name = ahead.pop()
            if name in ("", "."):
                continue
            if name == "..":
                if len(way) > 1:
                    os.close(way.pop()[0])
                continue
            way.append((_component(name, way[-1][0], make), name))
            found = os.fstat(way[-1][0])
            if is_root():
                _check(found, here())
            if stat.S_ISLNK(found.st_mode):
                links += 1
                if links > _MOST_LINKS:
                    raise OSError(_ELOOP, os.strerror(_ELOOP), path)
                link = way.pop()[0]
                target = os.readlink("", dir_fd=link)
                os.close(link)
                ahead += target.split("/")[::-1]
                if target.startswith("/"):
                    for descriptor, _ in way[1:]:
                        os.close(descriptor)
                    del way[1:]
        real = here()
        return way.pop()[0], real
    except OSError as error:
        if error.filename is not None:
            error.filename = path
        raise
    finally:
        for descriptor, _ in way:
            os.close(descriptor)


def _component(name: str, at: int, make: bool) -> int:
    try:
        return os.open(name, _O_PATH, dir_fd=at)
    except FileNotFoundError:
        if not make:
            raise
    os.mkdir(name, 0o700, dir_fd=at)
    return os.open(name, _O_PATH, dir_fd=at)


def _check(found: os.stat_result, path: str) -> None:
    """
    :raises Untrusted: if something belongs to somebody else, or others may write to it
    """
    if found.st_uid not in (0, os.geteuid()):
        raise Untrusted(f"{path} belongs to user {found.st_uid}", path)
    # In a sticky directory others may make files of their own, and exchange none of
    # ours. A link's mode says nothing.
    sticky = stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX
    if (
        found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        and not sticky
        and not stat.S_ISLNK(found.st_mode)
    ):
        raise Untrusted(f"others may write to {path}", path)
