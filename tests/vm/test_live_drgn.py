# SPDX-License-Identifier: GPL-2.0-or-later
"""
drgn's own helpers and ``%crash`` commands on the dump of a guest, without debug info
and with it.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from booted import Live, modules
from drgn import Program, SymbolKind, Type, TypeKind

from pagedbg.target.declarations import DECLARED
from pagedbg.target.opening import open_target

DRGN = Path(sys.executable).with_name("drgn")

# Each prints something on a guest with a root file system and no network card.
COMMANDS = (
    "bpf",
    "bt 1",
    "bt -a",
    "dev",
    "files 1",
    "irq",
    "irq -s",
    "kmem -i",
    "kmem -n",
    "kmem -s",
    "kmem -v",
    "kmem -V",
    "kmem -z",
    "log",
    "mod",
    "mount -n 1",
    "net",
    "ps",
    "ps -a",
    "runq",
    "sig 1",
    "swap",
    "sys",
    "task 1",
    "timer",
    "vm 1",
)


def drgn(live: Live, script: Path, *options: str) -> str:
    """What drgn prints that runs a script on the guest's dump."""
    done = subprocess.run(
        [DRGN, "-q", "--no-default-symbols", *options, "-c", live.core, script],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def comparable(text: str) -> list[str]:
    """
    What a command prints, without what only debug info can tell: inlined functions,
    what entry code is called, the name of the file that the debug info is in, and
    arrays of no elements from those of no known length.
    """
    lines = text.replace("[0])", "[])").splitlines()
    frame = re.compile(r" *#\d+ (\[\w+\]) \S+ at (\w+)")
    kernel = re.compile(r"( *KERNEL:) .*?(\[TAINTED\])?$")
    return [
        kernel.sub(r"\1 \2", frame.sub(r"\1 \2", line))
        for line in lines
        if "(inline)" not in line
    ]


def exactly(kind: Type) -> object:
    """What a type is apart from qualifiers, typedefs, and arrays of no known length."""
    while kind.kind == TypeKind.TYPEDEF:
        kind = kind.type
    if kind.kind == TypeKind.POINTER:
        return "pointer", exactly(kind.type)
    if kind.kind == TypeKind.ARRAY:
        return "array", kind.length, exactly(kind.type)
    if kind.kind in (TypeKind.STRUCT, TypeKind.UNION, TypeKind.ENUM):
        members = getattr(kind, "members", None) or ()
        return kind.kind, kind.tag, kind.size, [each.name for each in members]
    if kind.kind == TypeKind.INT:
        # BTF does not tell whether char is signed.
        return kind.kind, kind.size, kind.size == 1 or kind.is_signed
    return kind.kind


@pytest.fixture(scope="module")
def with_debug_info(live: Live) -> Program:
    """The guest's dump, with its kernel's debug info."""
    return open_target(str(live.core), [str(live.kernel.vmlinux)]).prog


def test_variables_have_the_types_that_debug_info_gives_them(
    live: Live, with_debug_info: Program
) -> None:
    prog = open_target(str(live.core)).prog
    seen = 0
    for name in DECLARED:
        try:
            variable = with_debug_info.variable(name)
        except LookupError:
            continue
        ours = prog[name]
        assert ours.address_ == variable.address_, name
        assert prog.symbol(name).kind == SymbolKind.OBJECT, name
        kind = ours.type_
        if kind.kind == TypeKind.ARRAY and kind.length is None:
            assert exactly(kind.type) == exactly(variable.type_.type), name
        else:
            assert exactly(kind) == exactly(variable.type_), name
        seen += 1
    assert seen > 100


def test_crash_commands_print_what_they_print_with_debug_info(
    live: Live, tmp_path: Path
) -> None:
    script = tmp_path / "commands.py"
    script.write_text(
        "import sys, traceback\n"
        "from drgn.commands._crash.common import CRASH_COMMAND_NAMESPACE\n"
        f"for command in {COMMANDS!r}:\n"
        "    print('=====', command, flush=True)\n"
        "    try:\n"
        "        CRASH_COMMAND_NAMESPACE.run(prog, command)\n"
        "    except Exception as error:\n"
        "        print(type(error).__name__, error)\n"
    )
    without, with_dwarf = (
        dict(
            part.split("\n", 1)
            for part in drgn(live, script, *options).split("===== ")[1:]
        )
        for options in ((), ("-s", str(live.kernel.vmlinux)))
    )
    assert without.keys() == with_dwarf.keys() == set(COMMANDS)
    for name in COMMANDS:
        assert comparable(without[name]) == comparable(with_dwarf[name]), name
        assert len(without[name].splitlines()) > 1, name


def test_a_modules_types_are_those_of_its_debug_info(
    live: Live, tmp_path: Path
) -> None:
    script = tmp_path / "module.py"
    script.write_text("print(prog.type('struct block'))\n")
    symbols = [str(live.kernel.vmlinux), str(modules.blocks_module(live.kernel))]
    without = drgn(live, script)
    assert "struct page *(*alloc)(unsigned int)" in without
    assert without == drgn(live, script, "-s", symbols[0], "-s", symbols[1])


def test_with_debug_info_nothing_of_ours_is_read(live: Live, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\n"
        "from drgn.helpers.linux import for_each_task\n"
        "assert len(list(for_each_task(prog))) > 10\n"
        "assert 'no_such_variable' not in prog\n"
        "print(*sorted(n for n in sys.modules if n.startswith('pagedbg.target.')))\n"
    )
    assert drgn(live, script, "-s", str(live.kernel.vmlinux)) == "\n"
