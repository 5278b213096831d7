# SPDX-License-Identifier: GPL-2.0-or-later
"""
A dump and captures in which every name is an attack.

A name ends lines and quotes, runs the program ``x`` in all the ways that a shell or our
prompt has, and drives the terminal that shows it. The tests put an ``x`` on the PATH
that leaves a mark.
"""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from drgn import Program
from drgn.helpers.linux.mmzone import for_each_online_pgdat
from drgn.helpers.linux.module import for_each_module
from drgn.helpers.linux.pid import for_each_task
from drgn.helpers.linux.slab import for_each_slab_cache
from make_elf import ElfCore

from pagedbg.schema.event_record import RECORD, check_of

__all__ = ("ATTACKS", "DRIVES", "FILES", "captures", "hostile_dump", "with_mark")

ATTACKS = (
    b"\n!x\n\x1bc\x1b[8m!x #",
    b"'\n!x\n'\x1b]0;x\x07",
    b'"\r!x\r"\x9b8m\n!x',
    b"\xe2\x80\xa8!x\xe2\x80\xae\xc2\x9b8m\n",
    b"`x`$(x)|x;x&x>x",
    b"\x1b[8m' \"\n!x #",
    b"--x\\\n!x\n",
    b" a,b*[?]\x7f\x0b!x",
)
"""Short names get the beginning of one."""

DRIVES = ("\x1bc", "\x1b]", "\x1b[8m", "\x9b", "\x07", "\x7f", "\u2028", "\u202e")
"""What no terminal may get: neither we nor prompt_toolkit send any of it."""

FILES = (
    b"f\n!x\n",
    b"f'\"$(x)`x`|x",
    b"f\x1bc\x1b[8m",
    b"-f x\\",
    "f\u202e\u2028!x".encode(),
)
"""Files that a stranger may have in a directory."""

# Strings that lie in the dump as they are: names in the modules' tables, of files and
# of resources, and the log.
_IN_PLACE = (
    *(b"leaky_tx_buffer\0", b"leaky_rx_refill\0", b"leaky_write\0"),
    *(
        b"libc.so.6\0",
        b"traffic\0",
        b"Kernel code\0",
        b"System RAM\0",
        b"PCI Bus 0000:00\0",
    ),
    *(
        b"leaky: no receive buffer",
        b"Linux version ",
        b"page allocation failure",
        b"Call Trace:",
    ),
)


def _names(size: int, numbers: Iterator[int]) -> bytes:
    """The next name of a size."""
    attack = ATTACKS[next(numbers) % len(ATTACKS)]
    return attack[:size].ljust(size, b"z")


def hostile_dump(prog: Program, path: Path) -> Path:
    """
    Write the dump that ``prog`` is to an ELF core, with all the names changed that
    commands show.
    """
    core = ElfCore(prog, path)
    numbers = itertools.count()
    strings = [
        *(
            node.node_zones[i].name
            for node in for_each_online_pgdat(prog)
            for i in range(len(node.node_zones))
        ),
        *prog["migratetype_names"],
        *prog["migrate_reason_names"],
        *(
            flag.name
            for table in ("gfpflag_names", "pageflag_names")
            for flag in _flags(prog, table)
        ),
        *(cache.name for cache in for_each_slab_cache(prog)),
    ]
    # Two caches may have one name.
    for address, name in {
        string.value_(): string.string_() for string in strings if string
    }.items():
        core.write(address, _names(len(name), numbers))
    core.write(prog["init_uts_ns"].name.nodename.address_, _names(64, numbers))
    for module in for_each_module(prog):
        # By this name ours is found, with what it has recorded; and drgn reads ASCII
        # there, too.
        if module.name.string_() != b"pagedbg":
            core.write(module.name.address_, ATTACKS[0] + b"\0")
    data = path.read_bytes()
    # In tasks, in page_owner's records and in what was recorded: they are all as long.
    for comm in {task.comm.string_() for task in for_each_task(prog)}:
        if len(comm) > 3:
            data = data.replace(comm.ljust(16, b"\0"), _names(15, numbers) + b"\0")
    for old in _IN_PLACE:
        end = b"\0" if old.endswith(b"\0") else b""
        assert old in data, old
        data = data.replace(old, _names(len(old) - len(end), numbers) + end)
    # A part of many of the kernel's own functions' names.
    at = core.virtual(_symbol(prog, "kallsyms_token_table"))
    assert at is not None
    token = data.index(b"\x0064\0", at) + 1
    data = data[:token] + b"\x1bc" + data[token + 2 :]
    # A line feed would end the release, not be in it; and drgn reads ASCII there.
    release = f"OSRELEASE={_vmcoreinfo(prog)['OSRELEASE']}\n".encode()
    assert data.count(release) >= 1
    data = data.replace(
        release,
        b"OSRELEASE="
        + b"6\x1bc\x1b[8m\r!x'\x07\x7f".ljust(len(release) - 11, b"z")
        + b"\n",
    )
    path.write_bytes(data)
    return path


def _flags(prog: Program, table: str) -> Iterator[Any]:
    for i in itertools.count():
        flag = prog[table][i]
        if not flag.name:
            return
        yield flag


def _vmcoreinfo(prog: Program) -> dict[str, str]:
    return dict(
        line.split("=", 1)
        for line in prog["VMCOREINFO"].string_().decode().splitlines()
        if "=" in line
    )


def _symbol(prog: Program, name: str) -> int:
    return int(_vmcoreinfo(prog)[f"SYMBOL({name})"], 16)


def with_mark(directory: Path) -> Path:
    """
    Make a directory for the PATH with the program ``x``, and return the file that is
    there once it has run.
    """
    directory.mkdir()
    mark = directory / "mark"
    program = directory / "x"
    program.write_text(f"#!/bin/sh\ntouch {mark}\n")
    program.chmod(0o755)
    return mark


# ---- captures ----


def _text(number: int) -> str:
    return (
        ATTACKS[number % len(ATTACKS)]
        .decode(errors="surrogateescape")
        .encode(errors="backslashreplace")
        .decode()
        + "\u2028\u202e\x9b8m"
    )


def _change(value: Any, change: Callable[[str], str]) -> Any:
    """Every string in a value changed; where a name is a key, the key too."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_change(each, change) for each in value]
    if isinstance(value, dict):
        return {key: _change(each, change) for key, each in value.items()}
    return value


def captures(saved: Path, directory: Path) -> dict[str, Path]:
    """
    Write captures that differ from one that was saved in their strings: each in one
    part, by the name of the part.

    Some may be refused; ``stacks``, ``comm`` and ``kernel.release`` hold nothing but
    what a machine that was recorded can name so.
    """
    meta = json.loads((saved / "meta.json").read_text())
    # No name was asked for on that machine.
    meta["filters"][-1]["filter"].update(gfp=["x"], zone=["x"], comm=["x"], events=None)
    numbers = itertools.count()

    def attack(_: str) -> str:
        return _text(next(numbers))

    made: dict[str, Path] = {}

    def copy(part: str) -> Path:
        made[part] = directory / part
        shutil.copytree(saved, made[part])
        return made[part]

    for part in meta:
        changed = {**meta, part: _change(meta[part], attack)}
        if changed != meta:
            (copy(part) / "meta.json").write_text(json.dumps(changed))
    for part in ("release", "boot_id", "build_id"):
        (copy(f"kernel.{part}") / "meta.json").write_text(
            json.dumps({**meta, "kernel": {**meta["kernel"], part: attack("")}})
        )
    for name, value in {
        "version": attack(""),
        "failed": {attack(""): attack("")},
        "left_over": attack(""),
    }.items():
        (copy(f"{name} in words") / "meta.json").write_text(
            json.dumps({**meta, name: value})
        )
    stacks = [
        json.loads(line) for line in (saved / "stacks.jsonl").read_text().splitlines()
    ]
    for stack in stacks:
        stack["stack"] = [_text(next(numbers)) for _ in stack["stack"]]
    (copy("stacks") / "stacks.jsonl").write_text(
        "".join(json.dumps(stack) + "\n" for stack in stacks)
    )
    events = saved.joinpath("events.bin").read_bytes()
    assert b"traffic\0" in events
    renamed = bytearray(
        events.replace(b"traffic".ljust(16, b"\0"), _names(15, numbers) + b"\0")
    )
    records = np.frombuffer(renamed, RECORD)
    records["check"] = check_of(records)
    (copy("comm") / "events.bin").write_bytes(renamed)
    return made
