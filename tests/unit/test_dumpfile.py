# SPDX-License-Identifier: GPL-2.0-or-later
"""
What a file that is given for a dump turns out to be: one that can be opened, or a
sentence that says why not.
"""

from __future__ import annotations

import gzip
import lzma
import os
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from drgn import Architecture, FaultError, Platform, Program
from hypothesis import given, settings
from hypothesis import strategies as st

from pagedbg.errors import PagedbgError
from pagedbg.shell.command_line import SAMPLE
from pagedbg.target.dump_header import DumpFile
from pagedbg.target.dumpfile import recognize

ET_REL, ET_EXEC, ET_DYN, ET_CORE = 1, 2, 3, 4
PT_LOAD, PT_NOTE = 1, 4


def refusal(path: Path | str) -> str:
    """The sentence with which a file is refused."""
    with pytest.raises(PagedbgError) as error:
        recognize(str(path))
    sentence = str(error.value)
    assert sentence.startswith(str(path))
    assert sentence.endswith(".")
    assert "\n" not in sentence
    return sentence


def elf(
    machine: int = 62,
    kind: int = ET_CORE,
    bits: int = 2,
    order: int = 1,
    segments: list[tuple[int, ...]] | None = None,
) -> bytes:
    """An ELF file; a segment is (type, offset, vaddr, paddr, filesz, memsz)."""
    segments = (
        [(PT_LOAD, 4096, 0xFFFF888000000000, 0, 4096, 4096)]
        if segments is None
        else segments
    )
    ident = b"\x7fELF" + bytes([bits, order, 1]) + bytes(9)
    header = struct.pack(
        "<HHIQQQIHHHHHH", kind, machine, 1, 0, 64, 0, 0, 64, 56, len(segments), 0, 0, 0
    )
    table = b"".join(
        struct.pack("<IIQQQQQQ", t, 0, offset, vaddr, paddr, filesz, memsz, 0)
        for t, offset, vaddr, paddr, filesz, memsz in segments
    )
    return ident + header + table


_INFO = b"""\
OSRELEASE=6.12.0
PAGESIZE=4096
SYMBOL(swapper_pg_dir)=ffffffff82000000
KERNELOFFSET=0
NUMBER(phys_base)=0
"""
_INFO += b"\n" * (-len(_INFO) % 4)
VMCOREINFO = struct.pack("<III", 11, len(_INFO), 0) + b"VMCOREINFO\0\0" + _INFO


def kdump(
    machine: bytes = b"x86_64",
    block_size: int = 4096,
    level: int = 31,
    signature: bytes = b"KDUMP   ",
) -> bytes:
    """The first two blocks of a kdump file."""
    head = bytearray(max(block_size, 512) * 2)
    head[:12] = signature + struct.pack("<i", 6)
    head[12 + 4 * 65 : 12 + 4 * 65 + len(machine)] = machine
    struct.pack_into("<i", head, 428, block_size)
    if block_size >= 512:
        struct.pack_into("<Qi", head, block_size, 0, level)
    return bytes(head)


def file(tmp_path: Path, content: bytes, name: str = "vmcore") -> str:
    """A file with some content."""
    path = tmp_path / name
    path.write_bytes(content)
    return str(path)


# ---- what can be opened ----------


@pytest.mark.parametrize(
    "machine, name, architecture",
    [(62, "x86_64", Architecture.X86_64), (183, "aarch64", Architecture.AARCH64)],
)
def test_an_elf_core_tells_its_machine(
    tmp_path: Path, machine: int, name: str, architecture: Architecture
) -> None:
    dump = recognize(file(tmp_path, elf(machine).ljust(8192, b"\0")))
    assert (dump.format, dump.machine, dump.level, dump.holes, dump.missing) == (
        "ELF",
        name,
        None,
        (),
        0,
    )
    assert dump.platform == Platform(architecture)
    assert dump.left_out() == []


@pytest.mark.parametrize("signature", [b"KDUMP   ", b"DISKDUMP"])
@pytest.mark.parametrize(
    "level, left_out",
    [
        (0, []),
        (1, ["zero pages"]),
        (17, ["zero pages", "free pages"]),
        (
            31,
            [
                "zero pages",
                "page cache",
                "private page cache",
                "user data",
                "free pages",
            ],
        ),
    ],
)
def test_a_kdump_file_tells_its_machine_and_what_was_left_out(
    tmp_path: Path, signature: bytes, level: int, left_out: list[str]
) -> None:
    dump = recognize(file(tmp_path, kdump(level=level, signature=signature)))
    assert (dump.format, dump.machine, dump.level) == ("kdump", "x86_64", level)
    assert dump.left_out() == left_out


def test_a_kdump_file_of_64_kib_pages_has_its_sub_header_in_the_next_block(
    tmp_path: Path,
) -> None:
    assert recognize(file(tmp_path, kdump(b"aarch64", 65536, 17))).level == 17


# ---- what an ELF core leaves out ----------


def test_memory_that_a_segment_names_and_does_not_hold_is_a_hole_and_not_zeroes(
    tmp_path: Path,
) -> None:
    base = 0xFFFF888000000000
    content = elf(
        segments=[
            (PT_NOTE, 4096, 0, 0, len(VMCOREINFO), 0),
            (PT_LOAD, 8192, base, 0x10000, 4096, 12288),
        ]
    )
    dump = recognize(
        file(
            tmp_path,
            content.ljust(4096, b"\0") + VMCOREINFO.ljust(4096, b"\0") + b"\xaa" * 4096,
        )
    )
    assert dump.holes == (
        (0x11000, 0x13000, False),
        (base + 0x1000, base + 0x3000, True),
    )
    assert dump.missing == 0
    prog = Program(dump.platform)
    prog.set_core_dump(dump.path)
    assert prog.read(base + 0x1000, 8) == bytes(8), (
        "drgn no longer takes a hole for zeroes: DumpFile.guard() is needless"
    )
    dump.guard(prog)
    assert prog.read(base, 4096) == b"\xaa" * 4096
    for address in (base + 0x1000, base + 0x2FF8, base + 0xFFF):
        with pytest.raises(FaultError):
            prog.read(address, 8)
    with pytest.raises(FaultError):
        prog.read(0x11000, 8, True)


@given(st.integers(0, 8192 + 4096))
@settings(deadline=None)
def test_a_core_that_is_cut_short_misses_what_lies_behind(
    tmp_path_factory: pytest.TempPathFactory, length: int
) -> None:
    segments = [
        (PT_NOTE, 4096, 0, 0, 4096, 0),
        (PT_LOAD, 8192, 0xFFFF888000000000, 0, 4096, 4096),
    ]
    content = elf(segments=segments).ljust(8192 + 4096, b"\0")[:length]
    path = file(tmp_path_factory.mktemp("cut"), content)
    if length < 64 + 2 * 56:
        refusal(path)
        return
    dump = recognize(path)
    assert dump.missing == 8192 + 4096 - length
    present = max(length - 8192, 0)
    assert dump.holes == (
        ()
        if present == 4096
        else (
            (present, 4096, False),
            (0xFFFF888000000000 + present, 0xFFFF888000001000, True),
        )
    )


def test_more_program_headers_than_16_bits_count_are_read(tmp_path: Path) -> None:
    header = bytearray(elf(segments=[]))
    count = 0x10001
    segments = struct.pack("<IIQQQQQQ", PT_LOAD, 0, 0, 0, 0, 0, 0x1000, 0) * count
    section = bytearray(64)
    struct.pack_into("<I", section, 44, count)
    struct.pack_into("<Q", header, 40, 64 + len(segments))
    struct.pack_into("<H", header, 56, 0xFFFF)
    assert (
        len(recognize(file(tmp_path, bytes(header) + segments + bytes(section))).holes)
        == count
    )


# ---- what cannot be opened ----------


def test_no_such_file(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "nothing")


def test_a_directory(tmp_path: Path) -> None:
    assert "directory" in refusal(tmp_path)


def test_an_empty_file(tmp_path: Path) -> None:
    assert "is empty" in refusal(file(tmp_path, b""))
    assert "is empty" in refusal("/dev/null")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_file_that_one_may_not_read(tmp_path: Path) -> None:
    path = file(tmp_path, elf())
    os.chmod(path, 0)
    for directory in (tmp_path, *tmp_path.parents):
        if directory.stat().st_uid == os.geteuid() and str(directory).startswith(
            "/tmp/"
        ):
            directory.chmod(0o755)
    os.seteuid(65534)
    try:
        assert "Permission denied" in refusal(path)
    finally:
        os.seteuid(0)


@pytest.mark.parametrize(
    "content, way_out",
    [
        (gzip.compress(elf(), mtime=0), "gzip"),
        (lzma.compress(elf()), "xz"),
        (b"\x28\xb5\x2f\xfd" + bytes(100), "zstd"),
        (b"makedumpfile\0\0\0\0" + bytes(4096), "makedumpfile -R"),
        (b"EMiL" + bytes(100), "LiME"),
        (b"#!/bin/sh\n", "is no dump"),
        (bytes(4096), "is no dump"),
        (b"\x7fEL", "is no dump"),
        (b"\x7fELF", "ELF"),
    ],
)
def test_another_format_is_named_with_the_way_out(
    tmp_path: Path, content: bytes, way_out: str
) -> None:
    assert way_out in refusal(file(tmp_path, content))


@pytest.mark.parametrize(
    "machine, name",
    [(21, "ppc64"), (243, "riscv64"), (258, "loongarch64"), (9999, "machine 9999")],
)
def test_an_elf_core_of_another_architecture(
    tmp_path: Path, machine: int, name: str
) -> None:
    assert f"of a {name} machine" in refusal(file(tmp_path, elf(machine)))


@pytest.mark.parametrize("name", [b"ppc64le", b"s390x", b"riscv64", b"armv7l", b"i686"])
def test_a_kdump_file_of_another_architecture(tmp_path: Path, name: bytes) -> None:
    assert f"of a {name.decode()} machine" in refusal(file(tmp_path, kdump(name)))


@pytest.mark.parametrize(
    "bits, order, machine", [(1, 1, 3), (1, 1, 40), (2, 2, 22), (1, 2, 20), (2, 2, 21)]
)
def test_32_bits_and_big_endian(
    tmp_path: Path, bits: int, order: int, machine: int
) -> None:
    assert "64-bit little-endian" in refusal(
        file(tmp_path, elf(machine, bits=bits, order=order))
    )


@pytest.mark.parametrize("kind", [ET_REL, ET_EXEC, ET_DYN])
def test_a_program_or_a_vmlinux_is_no_dump(tmp_path: Path, kind: int) -> None:
    assert "-s" in refusal(file(tmp_path, elf(kind=kind)))


@pytest.mark.parametrize("block_size", [0, -1, 511, 1 << 24])
def test_a_kdump_header_that_makes_no_sense(tmp_path: Path, block_size: int) -> None:
    head = bytearray(kdump())
    struct.pack_into("<i", head, 428, block_size)
    assert "damaged" in refusal(file(tmp_path, bytes(head)))


@pytest.mark.parametrize("length", [8, 12, 200, 428, 431, 4096, 4096 + 11])
def test_a_kdump_file_that_ends_in_its_header(tmp_path: Path, length: int) -> None:
    assert "cut short" in refusal(file(tmp_path, kdump()[:length]))


CORES = [
    elf().ljust(8192, b"\0"),
    kdump(),
    elf(segments=[(PT_LOAD, 4096, 1 << 63, 0, 1, 1 << 40)] * 3),
]


@settings(deadline=None, max_examples=300)
@given(
    st.integers(0, 2),
    st.lists(st.tuples(st.integers(0, 511), st.integers(0, 255)), max_size=6),
    st.integers(0, 8192),
)
def test_damaged_headers_are_read_or_refused_in_one_sentence(
    tmp_path_factory: pytest.TempPathFactory,
    which: int,
    changes: list[tuple[int, int]],
    length: int,
) -> None:
    data = bytearray(CORES[which])
    for at, byte in changes:
        if at < len(data):
            data[at] = byte
    path = file(tmp_path_factory.mktemp("damaged"), bytes(data[:length]))
    try:
        dump = recognize(path)
    except PagedbgError as error:
        assert str(error).startswith(path)
        assert "\n" not in str(error)
    else:
        assert isinstance(dump, DumpFile)
        assert all(start < end for start, end, _ in dump.holes)


def test_the_core_of_a_process_is_recognized_and_then_refused_for_having_no_vmcoreinfo(
    tmp_path: Path,
) -> None:
    note = struct.pack("<III", 5, 336, 1) + b"CORE\0\0\0\0" + bytes(336)
    content = elf(
        segments=[
            (PT_NOTE, 4096, 0, 0, len(note), len(note)),
            (PT_LOAD, 8192, 0x400000, 0, 4096, 4096),
        ]
    )
    path = file(
        tmp_path, content.ljust(4096, b"\0") + note.ljust(4096, b"\0") + bytes(4096)
    )
    assert recognize(path).machine == "x86_64"
    done = subprocess.run(
        [sys.executable, "-m", "pagedbg", "-c", path, "-e", "status"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert (
        done.stderr
        == f"pagedbg: {path} is not a dump of a Linux kernel: it has no vmcoreinfo.\n"
    )


# ---- what no kernel writes ----------


def sparse(tmp_path: Path, content: bytes, size: int) -> str:
    """A file that claims a size and takes no room for it."""
    path = file(tmp_path, content)
    os.truncate(path, size)
    return path


def used_by(path: str) -> tuple[int, str]:
    """
    How many bytes of memory, beyond what imports take, pagedbg takes to open a file,
    and what it says.
    """
    code = """
import resource, sys
import numpy
from pagedbg.target.opening import open_target
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    open_target(sys.argv[1])
except Exception as error:
    print(error)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, file=sys.stderr)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done
    return int(done.stderr) << 10, done.stdout


@pytest.mark.parametrize(
    "what", ["pipe", "directory", "/dev/zero", "/dev/tty", "socket"]
)
@pytest.mark.parametrize("give", ["-c", "-s"])
def test_what_is_no_file_is_refused_at_once(
    tmp_path: Path, what: str, give: str
) -> None:
    path = what if what.startswith("/") else str(tmp_path / what)
    if what == "pipe":
        os.mkfifo(path)
    elif what == "directory":
        os.mkdir(path)
    elif what == "socket":
        socket.socket(socket.AF_UNIX).bind(path)
    core = path if give == "-c" else str(SAMPLE)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pagedbg",
            "-c",
            core,
            *(("-s", path) if give == "-s" else ()),
            "-e",
            "status",
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"pagedbg: {path} ")
    assert done.stderr.count("\n") == 1


def test_a_bitmap_that_the_file_claims_and_does_not_hold_takes_no_memory(
    tmp_path: Path,
) -> None:
    head = bytearray(kdump())
    struct.pack_into("<iiI", head, 432, 1, 1 << 20, 0xFFFF)
    path = sparse(tmp_path, bytes(head), 1 << 33)
    assert "its bitmap of 17,179,869,184" in refusal(path)
    memory, _ = used_by(path)
    assert memory < 200 << 20
    struct.pack_into("<Q", head, 4096 + 96, 1 << 34)
    assert "17,179,869,184 pages" in refusal(sparse(tmp_path, bytes(head), 1 << 33))


def test_a_bitmap_of_more_pieces_than_memory_can_have_is_refused(
    tmp_path: Path,
) -> None:
    head = bytearray(kdump().ljust(8192, b"\0"))
    blocks = 4096
    struct.pack_into("<iiI", head, 432, 1, blocks, 0)
    struct.pack_into("<Q", head, 4096 + 96, blocks * 4096 * 4)
    assert "pieces" in refusal(
        file(tmp_path, bytes(head) + b"\x55" * (blocks * 4096) + bytes(4096))
    )


def test_more_segments_than_memory_can_be_in_are_refused_with_the_way_out(
    tmp_path: Path,
) -> None:
    header = bytearray(elf(segments=[]))
    section = bytearray(64)
    struct.pack_into("<I", section, 44, 30_000_000)
    struct.pack_into("<Q", header, 32, 4096)
    struct.pack_into("<Q", header, 40, 64)
    struct.pack_into("<H", header, 56, 0xFFFF)
    path = sparse(tmp_path, bytes(header) + bytes(section), 1 << 32)
    assert "makedumpfile" in refusal(path)
    memory, _ = used_by(path)
    assert memory < 200 << 20


def test_holes_that_meet_are_one(tmp_path: Path) -> None:
    base = 0xFFFF888000000000
    segments = [(PT_LOAD, 8192, base + at, at, 0, 4096) for at in range(0, 40960, 4096)]
    dump = recognize(file(tmp_path, elf(segments=segments).ljust(8192, b"\0")))
    assert dump.holes == ((0, 40960, False), (base, base + 40960, True))


def test_a_segment_that_ends_beyond_all_addresses_is_cut_there(tmp_path: Path) -> None:
    last = (1 << 64) - 4096
    dump = recognize(
        file(
            tmp_path,
            elf(segments=[(PT_LOAD, 4096, last, last, 0, 1 << 63)]).ljust(8192, b"\0"),
        )
    )
    assert dump.holes == ((last, 1 << 64, False), (last, 1 << 64, True))
    dump.guard(Program(dump.platform))
    assert (
        recognize(
            file(
                tmp_path,
                elf(segments=[(PT_LOAD, 1 << 63, last, last, 1 << 63, 0)]).ljust(
                    8192, b"\0"
                ),
            )
        ).missing
        > 1 << 63
    )


@pytest.mark.parametrize("size", [1 << 25, 1 << 40, (1 << 64) - 1])
def test_notes_of_more_than_a_few_mib_are_refused(tmp_path: Path, size: int) -> None:
    assert "notes" in refusal(
        sparse(tmp_path, elf(segments=[(PT_NOTE, 4096, 0, 0, size, 0)]), 1 << 41)
    )


def test_more_sections_than_a_core_has_are_refused(tmp_path: Path) -> None:
    header = bytearray(elf())
    struct.pack_into("<Q", header, 40, 4096)
    section = bytearray(64)
    struct.pack_into("<Q", section, 32, 1 << 40)
    assert "sections" in refusal(
        sparse(tmp_path, bytes(header).ljust(4096, b"\0") + bytes(section), 1 << 42)
    )


SUB_HEADER = {"vmcoreinfo": 32, "note": 48, "eraseinfo": 64}


@pytest.mark.parametrize("what", SUB_HEADER)
@pytest.mark.parametrize(
    "offset, size",
    [(8192, 1 << 40), ((1 << 64) - 4096, 8192), (4096, (1 << 64) - 1), (1 << 40, 64)],
)
def test_notes_of_a_kdump_file_that_lie_outside_of_it_are_refused(
    tmp_path: Path, what: str, offset: int, size: int
) -> None:
    head = bytearray(kdump())
    struct.pack_into("<QQ", head, 4096 + SUB_HEADER[what], offset, size)
    assert "notes" in refusal(file(tmp_path, bytes(head)))


@pytest.mark.parametrize(
    "info, sentence",
    [
        (b"PAGESIZE=65536\n", "another size"),
        (b"OSRELEASE=6.12\nPAGESIZE=\n", "another size"),
        (b"A" + b".a" * 5000 + b"=1\n", "no text of a kernel's"),
    ],
)
def test_vmcoreinfo_that_libkdumpfile_would_stumble_over_is_refused(
    tmp_path: Path, info: bytes, sentence: str
) -> None:
    head = bytearray(kdump())
    struct.pack_into("<QQ", head, 4096 + SUB_HEADER["vmcoreinfo"], 8192, len(info))
    assert sentence in refusal(file(tmp_path, bytes(head) + info))
    note = struct.pack("<III", 11, len(info), 0) + b"VMCOREINFO\0\0" + info
    head = bytearray(kdump())
    struct.pack_into("<QQ", head, 4096 + SUB_HEADER["note"], 8192, len(note))
    assert sentence in refusal(file(tmp_path, bytes(head) + note))


def test_a_page_that_would_be_compressed_into_gigabytes_is_refused(
    tmp_path: Path,
) -> None:
    head = bytearray(kdump())
    struct.pack_into("<iiI", head, 432, 1, 2, 8)
    bitmap = b"\x03".ljust(4096, b"\0") * 2
    good = struct.pack("<QIIQ", 20480, 100, 1, 0)
    bad = struct.pack("<QIIQ", 20480, 0xFFFF_FFFF, 1, 0)
    assert (
        recognize(
            file(tmp_path, (bytes(head) + bitmap + good + good).ljust(24576, b"\0"))
        ).missing
        == 0
    )
    assert "page 1 of 2" in refusal(
        file(tmp_path, (bytes(head) + bitmap + good + bad).ljust(24576, b"\0"))
    )


@pytest.mark.parametrize("order", "<>")
def test_a_header_that_would_be_taken_for_a_32_bit_one_is_refused(
    tmp_path: Path, order: str
) -> None:
    head = bytearray(kdump())
    struct.pack_into(f"{order}ii", head, 416, 4096, 1)
    struct.pack_into(f"{order}i", head, 424, 1 << 20)
    assert "64-bit" in refusal(file(tmp_path, bytes(head)))
