# SPDX-License-Identifier: GPL-2.0-or-later
"""
What stands on the command line: pagedbg's own arguments and, for those who describe it
elsewhere (completion in shells, the man page), those of all commands.

Nothing heavy is imported before it is needed: ``--help`` and ``--version`` answer at
once.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, NamedTuple

from pagedbg import __version__
from pagedbg.schema.settings import FORMATS
from pagedbg.shell.registry import COMMANDS

SAMPLE = Path(__file__).parents[1] / "data" / "sample.vmcore"
"""A small real dump that travels with pagedbg, to try it on."""


class Source(NamedTuple):
    """An ``-e COMMAND`` or ``-x FILE``, in the order in which they were given."""

    option: str
    value: str

    @classmethod
    def command(cls, value: str) -> Source:
        """Take the value of ``-e``."""
        return cls("-e", value)

    @classmethod
    def file(cls, value: str) -> Source:
        """Take the value of ``-x``."""
        return cls("-x", value)


def command_line_parser() -> argparse.ArgumentParser:
    """The parser of pagedbg's own arguments; a command's words are left to it."""
    parser = _options_parser()
    parser.add_argument(
        "words",
        metavar="COMMAND ARG",
        nargs=argparse.REMAINDER,
        help="run this one command and leave",
    )
    return parser


def _options_parser() -> argparse.ArgumentParser:
    width = max(map(len, COMMANDS))
    listed = "\n".join(
        f"  {name:{width}}  {entry.description}" for name, entry in COMMANDS.items()
    )
    parser = argparse.ArgumentParser(
        prog="pagedbg",
        usage=(
            "pagedbg [-c CORE | --sample | --qemu SOCKET [--pause] | --crash |"
            " --snapshot DIR] [--capture DIR] [-s SYMBOLS]... [--format FORMAT]"
            " [--no-pager] [--config FILE | --no-config] [-e COMMAND]... [-x FILE]... |"
            " [COMMAND ARG...]"
        ),
        description=(
            "Say who holds which pages of a Linux kernel, since when and from which"
            " call path: of the running one, or of a dump."
        ),
        epilog=f"""\
With neither COMMAND, -e nor -x, commands are read from standard input: at a prompt if it is a terminal.
They stop at the first that fails, and its status is pagedbg's: 0 done, 1 failed, 2 mistyped.

commands (pagedbg help COMMAND explains one):
{listed}""",  # noqa: E501
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    if sys.version_info >= (3, 14):
        # Help in colours: escape sequences that are not let through.
        parser.color = False
    add = parser.add_argument
    dump = parser.add_mutually_exclusive_group()
    dump.add_argument(
        "-c",
        "--core",
        metavar="CORE",
        help="look at this dump, not at the running kernel",
    )
    dump.add_argument(
        "--sample",
        dest="core",
        action="store_const",
        const=str(SAMPLE),
        help="look at the bundled dump of a machine that died",
    )
    dump.add_argument(
        "--qemu",
        metavar="SOCKET",
        help="look at the guest whose monitor (QMP) answers at this Unix socket",
    )
    dump.add_argument(
        "--crash",
        action="store_true",
        help="look at what the crash(8) has open from whose prompt this is run",
    )
    dump.add_argument(
        "--snapshot",
        metavar="DIR",
        type=Path,
        help="look at what snapshot save has kept, with no kernel",
    )
    add(
        "--pause",
        action="store_true",
        help="have the guest wait meanwhile: all is as it was at one moment",
    )
    add(
        "--capture",
        metavar="DIR",
        help="open this capture: alone, or with the dump of the machine that it is of",
    )
    add(
        "-s",
        "--symbols",
        metavar="SYMBOLS",
        action="append",
        default=[],
        help="prefer debugging information from this file",
    )
    add(
        "-e",
        dest="sources",
        metavar="COMMAND",
        type=Source.command,
        action="append",
        help="run a command and leave",
    )
    add(
        "-x",
        dest="sources",
        metavar="FILE",
        type=Source.file,
        action="append",
        help="run the commands in a file and leave; - is standard input",
    )
    add(
        "--format",
        metavar="FORMAT",
        choices=FORMATS,
        help="how to print tables (default: text)",
    )
    add("--no-pager", dest="pager", action="store_false", help="never page long output")
    config = parser.add_mutually_exclusive_group()
    config.add_argument(
        "--config",
        metavar="FILE",
        help="read this configuration, not ~/.config/pagedbg/config.toml",
    )
    config.add_argument(
        "--no-config",
        dest="config",
        action="store_const",
        const="",
        help="read no configuration",
    )
    add("--version", action="version", version=f"pagedbg {__version__}")
    return parser


def whole_parser() -> argparse.ArgumentParser:
    """
    The parser with every command as one of its own. It is to be looked at, not to
    parse: what a shell's words mean to a command is more than argparse says.
    """
    from pagedbg.shell.command import NAMESPACE

    parser = _options_parser()
    commands: dict[str, Any] = {"": parser.add_subparsers(metavar="COMMAND")}
    for name, entry in COMMANDS.items():
        first, _, second = name.rpartition(" ")
        if first not in commands:
            group = commands[""].add_parser(first, help=entry.group.lower())
            commands[first] = group.add_subparsers(metavar="COMMAND")
        commands[first].add_parser(
            second,
            help=entry.description,
            parents=[NAMESPACE.get(name).parser],
            add_help=False,
        )
    return parser
