# SPDX-License-Identifier: GPL-2.0-or-later
"""
Dumps whose headers have no vmcoreinfo, as QEMU writes them where the guest has not told
it: it is found in their memory.
"""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import pytest
from known import ORDINARY, Run
from make_elf import PAGE, ElfCore

from pagedbg.errors import PagedbgError
from pagedbg.target.dumpfile import recognize
from pagedbg.target.target import Target

# Where struct kdump_sub_header, in the second block, has offset and size of them.
VMCOREINFO, NOTES = PAGE + 32, PAGE + 48

ABOUT_THE_FILE = ("path", "format", "level", "missing")
"""Columns of ``status``."""

BEGINNING = b"OSRELEASE="

SENTENCE = (
    "pagedbg: {} has no vmcoreinfo, and none is in its memory: it is not known which"
    " Linux it is of. QEMU writes it into a dump where it was started with -device"
    " vmcoreinfo and the guest has loaded qemu_fw_cfg (`modprobe qemu_fw_cfg`)"
    " before.\n"
)


def rename_note(path: Path, start: int, to: bytes) -> None:
    """Make another one of the note that has the vmcoreinfo."""
    data = path.read_bytes()
    at = data.index(b"VMCOREINFO\0", start)
    name = to.ljust(11, b"\0")
    path.write_bytes(data[:at] + name + data[at + len(name) :])


@pytest.fixture(scope="module")
def kdump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bare") / "kdump"
    data = bytearray(ORDINARY.read_bytes())
    struct.pack_into("<QQ", data, VMCOREINFO, 0, 0)
    path.write_bytes(data)
    rename_note(path, struct.unpack_from("<Q", data, NOTES)[0], b"QEMU")
    return path


@pytest.fixture(scope="module")
def elf(sample: Target, tmp_path_factory: pytest.TempPathFactory) -> Path:
    core = ElfCore(sample.prog, tmp_path_factory.mktemp("bare") / "elf")
    # QEMU writes no note of its own of an arm64 machine.
    rename_note(core.path, 0, b"CORE")
    return core.path


def pages_with_it(path: Path) -> list[int]:
    """Where in an ELF core a page begins with a vmcoreinfo, or a note with one."""
    data = path.read_bytes()
    return [
        at
        for at in range(0, len(data), PAGE)
        if data.startswith((BEGINNING, b"VMCOREINFO"), at)
        or data.startswith(b"VMCOREINFO", at + 12)
    ]


@pytest.mark.parametrize(
    ("segments", "size"),
    [
        # Memory that was never written to the file: 8 TiB of it.
        ([(0, 1 << 43)], 1 << 43),
        # The same MiB, as that of 64 GiB.
        ([(number << 20, 1 << 20) for number in range(1 << 16)], 8 << 20),
    ],
    ids=["sparse", "shared"],
)
def test_no_more_is_searched_than_the_file_has(
    pagedbg: Run, tmp_path: Path, segments: list[tuple[int, int]], size: int
) -> None:
    note = struct.pack("<III", 5, 0, 0) + b"QEMU\0\0\0\0"
    count = len(segments) + 1
    # PN_XNUM: section 0 has the number.
    head = struct.pack(
        *("<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 4, 62, 1, 0, 4 << 20, 64, 0, 64, 56),
        *(min(count, 0xFFFF), 64, 1, 0),
    )
    headers = [(4, 0, 12 << 20, 0, 0, len(note), len(note), 0)]
    headers += [(1, 0, 13 << 20, 0, at, length, length, 0) for at, length in segments]
    path = tmp_path / "made"
    with path.open("wb") as file:
        file.write(head)
        file.seek(4 << 20)
        file.write(b"".join(struct.pack("<IIQQQQQQ", *each) for each in headers))
        file.seek(64)
        file.write(bytes(44) + struct.pack("<I", count) + bytes(16))
        file.seek(12 << 20)
        file.write(note)
        file.seek(13 << 20)
        file.write(b"x" * (1 << 20))
    os.truncate(path, size + (16 << 20))
    dump = recognize(str(path))
    assert dump.memory is not None
    with path.open("rb") as file:
        searched = list(dump.memory(file.fileno()))
    assert 0 < sum(end - start for start, end in searched) < 8 << 20
    done = pagedbg("-c", path, "-e", "status")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == SENTENCE.format(path)


@pytest.mark.parametrize("name", ["kdump", "elf"])
def test_it_answers_as_the_dump_that_has_one(
    pagedbg: Run, request: pytest.FixtureRequest, name: str
) -> None:
    def told(path: Path) -> object:
        done = pagedbg(
            *("-c", path, "-e", "status --format json"),
            *("-e", "owners --by module,order --format json"),
        )
        assert (done.returncode, done.stderr) == (0, "")
        status, _, owners = done.stdout.partition("]\n")
        (row,) = json.loads(f"{status}]")
        # What the file is, and not the kernel.
        for column in ABOUT_THE_FILE:
            del row[column]
        return row, json.loads(owners)

    assert told(request.getfixturevalue(name)) == told(ORDINARY)


def test_what_only_looks_like_one_is_not_believed(
    pagedbg: Run, elf: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "decoy"
    data = bytearray(elf.read_bytes())
    real = pages_with_it(elf)[-1]
    text = bytes(data[real : real + PAGE]).partition(b"OSRELEASE")[2]
    # The first pages of memory: another release, another place of it, and noise.
    start = next(at for at in pages_with_it(elf)) - 3 * PAGE
    decoys = (
        b"OSRELEASE" + text.replace(b"6.12", b"6.11", 1),
        b"OSRELEASE=6.12.117-pagedbg-lab\nPAGESIZE=4096\n"
        b"SYMBOL(init_uts_ns)=ffffffff81000000\nSYMBOL(swapper_pg_dir)=1\n",
        BEGINNING + bytes(range(1, 256)) * 15,
    )
    for number, decoy in enumerate(decoys):
        at = start + number * PAGE
        data[at : at + PAGE] = decoy[:PAGE].ljust(PAGE, b"\0")
    copy.write_bytes(data)
    done = pagedbg("-c", copy, "-e", "status")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Linux 6.12.117-pagedbg-lab" in done.stdout


def test_where_there_is_none_a_sentence_says_how_to_get_one(
    pagedbg: Run, elf: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "blotted"
    data = bytearray(elf.read_bytes())
    blots = pages_with_it(elf)
    # The text, and the same once more as a note.
    assert len(blots) == 2
    for at in blots:
        data[at : at + PAGE] = bytes(PAGE)
    copy.write_bytes(data)
    done = pagedbg("-c", copy, "-e", "status")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == SENTENCE.format(copy)


def test_a_kdump_file_of_qemu_that_names_no_architecture_is_said_to_be_one(
    kdump: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "unnamed"
    data = kdump.read_bytes()
    at = data.index(b"x86_64\0", 0, PAGE)
    name = b"Unknown".ljust(65, b"\0")
    copy.write_bytes(data[:at] + name + data[at + len(name) :])
    with pytest.raises(PagedbgError, match="have it dump the guest as ELF"):
        recognize(str(copy))
