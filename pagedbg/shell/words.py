# SPDX-License-Identifier: GPL-2.0-or-later
"""The words of a line: a command's name, what it is given, and what is the shell's."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from drgn.commands import ParsedCommand, parse_shell_command

from pagedbg.errors import UsageError
from pagedbg.output.file_formats import file_format
from pagedbg.output.lines import open_quote
from pagedbg.schema.nearest import did_you_mean
from pagedbg.shell.registry import COMMANDS, GROUPS


class Line(NamedTuple):
    """
    A command's words, the shell command that its output goes through, and the file that
    it goes to by ``>``.
    """

    words: Sequence[str]
    pipeline: str | None
    file: str | None = None


def split(name: str, source: str) -> ParsedCommand[Line]:
    """
    Split what follows a command's name into words, redirections and a pipeline, which
    we run ourselves (Ctrl-C must leave ``| less`` alone).

    :raises UsageError: if it is not what the shell would take, or what is meant
    """
    try:
        parsed = parse_shell_command(source)
    except SyntaxError as error:
        if quote := open_quote(source):
            raise UsageError(
                f"{name}: nothing closes the quote {quote}; write \\{quote} for the"
                " character itself"
            ) from None
        if end := re.search(r"(\||[0-9]*[<>]+)\s*$", source):
            raise UsageError(f"{name}: {_missing(name, end[1])}") from None
        raise UsageError(
            f"{name}: {error.msg}; quote what belongs to a value, as in --orders '>=3'"
        ) from None
    for redirection in parsed.redirections:
        if redirection.path.startswith("="):
            value = redirection.op + redirection.path
            raise UsageError(
                f"{name}: {value} would write to a file named"
                f" {redirection.path!r}; quote it: '{value}'"
            )
        if parsed.pipeline is not None and redirection.fd == 1:
            raise UsageError(
                f"{name}: output cannot go both through | and into {redirection.path}"
            )
    if parsed.pipeline is not None and parsed.pipeline.endswith("|"):
        raise UsageError(f"{name}: {_missing(name, '|')}")
    if parsed.pipeline is not None and not _ends_with(source, parsed.pipeline):
        raise UsageError(f"{name}: what follows | has to be on one line")
    if not any(word.startswith("--format") for word in parsed.args):
        for redirection in parsed.redirections:
            # Once the line is taken the file is empty.
            if file_format(redirection.path) is not None:
                raise UsageError(
                    f"{name}: {redirection.path}: such a file is written with -o"
                )
    files = [each.path for each in parsed.redirections if each.fd == 1]
    line = Line(parsed.args, parsed.pipeline, files[-1] if files else None)
    return ParsedCommand(line, parsed.redirections)


def _missing(name: str, sign: str) -> str:
    """What to write behind a sign of the shell's."""
    if sign == "|":
        return f"nothing follows |; write a command of the shell's: {name} | less"
    return f"nothing follows {sign}; write the name of a file"


def _ends_with(source: str, pipeline: str) -> bool:
    """
    Say whether a pipeline is the whole end of a source: drgn ends it with its line,
    even in the middle of a word of the shell's.
    """
    before = source.rstrip().removesuffix(pipeline).rstrip()
    return before.endswith("|") and parse_shell_command(before[:-1]).pipeline is None


def joined(command: str) -> str:
    """
    Make one word of the two that some commands' names have, by the shell's own means.
    """
    if sign := re.match(r"\s*([|<>])", command):
        raise UsageError(f"nothing stands before {sign[1]}; help lists the commands")
    match = re.match(r"\s*([\w-]+)(?:\s+([\w-]+))?(?=\s|$)", command)
    if match is None or match[1] not in GROUPS:
        return command
    known = [
        name.partition(" ")[2] for name in COMMANDS if name.startswith(match[1] + " ")
    ]
    if match[2] not in known:
        near = (
            did_you_mean(match[2] or "", known)
            or f"; it is followed by one of {', '.join(known)}"
        )
        what = "a word is missing" if match[2] is None else f"there is no {match[2]!r}"
        raise UsageError(f"{match[1]}: {what}{near}")
    return f"'{match[1]} {match[2]}'{command[match.end() :]}"
