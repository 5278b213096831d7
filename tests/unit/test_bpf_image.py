# SPDX-License-Identifier: GPL-2.0-or-later
"""
Programs that are kept: only those of our own are taken, and nothing else of what a file
may hold.
"""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from pagedbg.capture.backends import bpf_image
from pagedbg.capture.backends.bpf_image import (
    CAST_CALL,
    VALUE_MARK,
    VALUES,
    Image,
    Map,
    build,
    one_sentence,
    sources,
)

INSN = struct.Struct("<BBhi")
CODE = (
    INSN.pack(0xB7, 0, 0, 0)
    + INSN.pack(0x18, 0x11, 0, 7)
    + INSN.pack(0, 0, 0, 0)
    + INSN.pack(0x95, 0, 0, 0)
)
IMAGE = Image(
    {"pagedbg_cpu": Map(2, 4, 8, 2, 1024)}, {"set": CODE}, {"set": [(1, "pagedbg_cpu")]}
)


def test_an_image_survives_its_text() -> None:
    assert Image.from_json(IMAGE.to_json()) == IMAGE


def test_linking_puts_in_the_descriptor_and_nothing_else() -> None:
    linked = IMAGE.linked("set", {"pagedbg_cpu": 42})
    assert linked[:8] + linked[16:] == CODE[:8] + CODE[16:]
    assert INSN.unpack_from(linked, 8) == (0x18, 0x11, 0, 42)


def test_linking_puts_in_the_number_of_the_cast() -> None:
    code = INSN.pack(0x85, 0, 0, 1) + INSN.pack(0x85, 0, 0, CAST_CALL)
    linked = Image({}, {"set": code}, {"set": []}).linked("set", {}, 24960)
    # A helper's call stays one.
    assert linked[:8] == code[:8]
    assert INSN.unpack_from(linked, 8) == (0x85, 0x20, 0, 24960)


@pytest.mark.parametrize("place", range(len(VALUES)))
def test_linking_puts_in_the_address_of_an_element(place: int) -> None:
    mark = INSN.pack(0x18, 3, 0, place) + INSN.pack(0, 0, 0, VALUE_MARK)
    number = INSN.pack(0x18, 3, 0, place) + INSN.pack(0, 0, 0, 7)
    linked = Image({}, {"set": mark + number}, {"set": []}).linked(
        "set", {name: 40 + at for at, name in enumerate(VALUES)}
    )
    assert INSN.unpack_from(linked, 0) == (0x18, 0x23, 0, 40 + place)
    assert INSN.unpack_from(linked, 8) == (0, 0, 0, 0)
    assert linked[16:] == number


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"maps": 1, "programs": 2, "uses": 3}',
        '{"maps": {"a": [1]}, "programs": {}, "uses": {}}',
    ],
)
def test_what_is_no_image_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        Image.from_json(text)


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[list[str]]:
    """
    The cache in a directory of the test's; what is asked of the compiler, which is not
    run.
    """
    asked: list[list[str]] = []

    def compile_apart(flags: list[str]) -> Image:
        asked.append(flags)
        return IMAGE

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(bpf_image, "_compile_apart", compile_apart)
    return asked


def test_what_was_compiled_is_not_compiled_again(compiled: list[list[str]]) -> None:
    assert build({"CPUS": 2}) == build({"CPUS": 2}) == IMAGE
    build({"CPUS": 3})
    assert compiled == [["-DCPUS=0x2ULL"], ["-DCPUS=0x3ULL"]]


def test_a_kept_image_that_is_damaged_is_made_again(
    compiled: list[list[str]], tmp_path: Path
) -> None:
    build({"CPUS": 2})
    (kept,) = tmp_path.rglob("*.json")
    kept.write_text("{")
    assert build({"CPUS": 2}) == IMAGE
    assert len(compiled) == 2


def test_a_kept_image_that_others_may_write_is_not_trusted(
    compiled: list[list[str]], tmp_path: Path
) -> None:
    build({"CPUS": 2})
    (kept,) = tmp_path.rglob("*.json")
    kept.chmod(0o666)
    build({"CPUS": 2})
    assert len(compiled) == 2


def test_a_cache_that_cannot_be_written_only_takes_longer(
    compiled: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    assert build({"CPUS": 2}) == IMAGE


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (
            "/virtual/main.c:29:8: error: unknown type name 'u64'\nstatic u64 x;\n",
            "unknown type name 'u64'",
        ),
        (
            (
                "0: (b7) r0 = 0\nR1 type=ctx\ninvalid access to map value\nprocessed 3"
                " insns (limit 1000000)\n"
            ),
            "invalid access to map value",
        ),
        ("", "no reason given"),
    ],
)
def test_of_what_a_compiler_says_one_sentence_matters(said: str, sentence: str) -> None:
    assert one_sentence(said) == sentence


def test_the_sources_are_there() -> None:
    assert (sources() / "capture.bpf.c").is_file()
    assert (sources() / "headers/include/linux/types.h").is_file()
