# SPDX-License-Identifier: GPL-2.0-or-later
"""What is looked at: files, places to keep something in, and the way to them."""

from __future__ import annotations

import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

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


def config_directory(*, make: bool) -> str:
    """
    As :func:`cache_directory`, what the user has chosen: ``~/.config/pagedbg``, as root
    root's whoever has called, or below ``$XDG_CONFIG_HOME``.

    :param make: make it if it is not there; else that is a FileNotFoundError
    """
    places = _candidates("XDG_CONFIG_HOME", "~/.config", "/root/.config")
    return _place(places, (), make=make)


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


def _place(
    candidates: Iterator[str], names: tuple[str, ...], *, make: bool = True
) -> str:
    """
    The first place that can be trusted. Where the first cannot be made for another
    reason, it is not made elsewhere.
    """
    distrust: Untrusted | None = None
    for place in candidates:
        try:
            at, path = _walk(os.path.join(place, "pagedbg", *names), make=make)
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
