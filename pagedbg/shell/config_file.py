# SPDX-License-Identifier: GPL-2.0-or-later
"""
The file ``config.toml``: where it is, what is in it, and what is in a new one.

As root only a file is read that only root can have written.
"""

from __future__ import annotations

import contextlib
import os
import textwrap
import tomllib

from pagedbg import trust
from pagedbg.errors import PagedbgError
from pagedbg.schema.settings import SETTINGS, Settings, in_words

__all__ = ("ALIASES", "QUERIES", "START", "parsed", "read_file", "write_new_file")

START, ALIASES, QUERIES = "start", "aliases", "queries"
"""What stands there beside the settings."""

_FILE = "config.toml"
_NO_FILE = "there is no configuration with --no-config."


def read_file(chosen: str | None, *, make: bool = False) -> tuple[str, str]:
    """
    Return a configuration's path, and what is in it.

    :param chosen: the path; None for the user's own, which need not be there, and the
        empty one for none
    :param make: make the directory of the user's own, to write a file there
    :raises PagedbgError: if it cannot be read, or is not to be trusted
    """
    if chosen == "":
        if make:
            raise PagedbgError(_NO_FILE)
        return "", ""
    path = chosen or _FILE
    try:
        if chosen is None:
            path = os.path.join(trust.config_directory(make=make), _FILE)
        return path, trust.read(path).decode()
    except FileNotFoundError:
        if chosen is None:
            return path, ""
        raise PagedbgError(f"{path}: there is no such file.") from None
    except OSError as error:
        raise PagedbgError(f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise PagedbgError(f"{path} is no text in UTF-8.") from None


def parsed(path: str, text: str) -> dict[str, object]:
    """
    Return what a configuration says.

    :raises PagedbgError: if it is no TOML
    """
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise PagedbgError(f"{path} is no TOML: {error}.") from None


def write_new_file() -> None:
    """
    Write the user's own file, in which everything is a comment, if there is none. Where
    it cannot be written it is done without.
    """
    with contextlib.suppress(OSError):
        path = os.path.join(trust.config_directory(make=True), _FILE)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with open(os.open(path, flags, 0o600), "w", encoding="utf-8") as file:
            file.write(_new_text())


def _new_text() -> str:
    parts = [
        _comment(
            "What pagedbg's prompt is to be like, in TOML. It is read when the prompt"
            " opens, and wherever --config FILE names a file; --no-config does without."
            " What stands here are the defaults: take the # away to change one."
        )
    ]
    defaults = Settings()
    for name, setting in SETTINGS.items():
        value = getattr(defaults, name)
        written = str(value) if name == "jobs" else f'"{in_words(value)}"'
        parts.append(f"{_comment(setting.meaning)}#{name} = {written}\n")
    parts += [
        _comment("Commands that are run when the prompt opens.")
        + f'#{START} = ["status"]\n',
        f"[{ALIASES}]\n"
        + _comment("Words of your own for commands, or for how they begin.")
        + '#programs = "owners --by comm --top 10"\n',
        f"[{QUERIES}]\n"
        + _comment("Queries of yours: sql NAME asks one, sql --save puts one here.")
        + '#zones = "SELECT zone, sum(blocks) FROM free_areas GROUP BY ALL"\n',
    ]
    return "\n".join(parts)


def _comment(text: str) -> str:
    lines = textwrap.wrap(text, 78)
    return "".join(f"# {line}\n" for line in lines)
