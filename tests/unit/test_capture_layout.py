# SPDX-License-Identifier: GPL-2.0-or-later
"""
The header that the kernel's side is compiled from, and the dtypes that Python reads the
same bytes with.
"""

from __future__ import annotations

import itertools
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagedbg.capture.backends.bpf_image import sources
from pagedbg.schema import event_record, filter_record, stack_record
from pagedbg.schema.filter_words import participation_hash
from pagedbg.schema.former_rings import FORMER, FORMER_HEADER, header_of

KEYS = (0, 1, 12345, 16_267_110_684, (1 << 63) + 7, (1 << 64) - 1)
SEEDS = 1, 3, 77

STRUCTURES = {
    "pagedbg_record": event_record.RECORD,
    "pagedbg_cpu": event_record.CPU,
    "pagedbg_filter": filter_record.FILTER,
    "pagedbg_freeze": event_record.FREEZE,
    "pagedbg_filters": filter_record.FILTERS,
    "pagedbg_header": event_record.HEADER,
    "pagedbg_stack": stack_record.STACK,
}

BPF = Path(sources())


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """
    What a C compiler says of bpf/ring.h: ``sizeof`` and ``offsetof`` of everything, the
    constants, and some hashes.
    """
    lines = []
    for name, dtype in STRUCTURES.items():
        lines.append(f'printf("{name} %zu\\n", sizeof(struct {name}));')
        for member in dtype.names or ():
            lines.append(
                f'printf("{name}.{member} %zu\\n", offsetof(struct {name}, {member}));'
            )
            lines.append(
                f'printf("{name}.{member}.size %zu\\n", sizeof(((struct {name}'
                f" *)0)->{member}));"
            )
    constants = [
        f"PAGEDBG_{word}"
        for word in (
            "MAGIC",
            "VERSION",
            "ORDERS",
            "EVENTS",
            "OWN_SETS",
            "RANGES",
            "PIDS",
            "COMMS",
            "OWN",
            "SPLIT_ORDERS",
            "STACK_DEPTH",
        )
    ]
    constants += [
        f"PAGEDBG_{name.replace(' ', '_').upper()}"
        for name in event_record.EVENT_NAMES.values()
    ]
    constants += ["PAGEDBG_NESTED", "PAGEDBG_NO_RECORD", "PAGEDBG_TRACEPOINT"]
    lines += [
        f'printf("hash.{key} %llu\\n", (unsigned long long)pagedbg_hash({key}ULL));'
        for key in KEYS
    ]
    lines += [
        f'printf("{name} %llu\\n", (unsigned long long){name});' for name in constants
    ]
    fill = "for (i = 0; i < sizeof(r); i++) ((unsigned char *)&r)[i] = i * i * %d;"
    lines += [
        fill.replace("%d", str(seed))
        + f' printf("check.{seed} %llu\\n", (unsigned long long)pagedbg_check(&r));'
        for seed in SEEDS
    ]
    where = tmp_path_factory.mktemp("layout")
    source = where / "layout.c"
    source.write_text(
        "#include <stddef.h>\n#include <stdio.h>\n#include <linux/types.h>\n#include"
        " <ring.h>\nint main(void) {\nstruct pagedbg_record r; size_t i;\n"
        + "\n".join(lines)
        + "\nreturn 0; }\n"
    )
    subprocess.run(["gcc", "-I", sources(), "-o", where / "layout", source], check=True)
    said = subprocess.run(
        [where / "layout"], check=True, capture_output=True, text=True
    ).stdout
    return {
        name: int(value) for name, value in (line.split() for line in said.splitlines())
    }


@pytest.mark.parametrize("name", STRUCTURES)
def test_a_dtype_has_the_layout_of_its_structure(
    compiled: dict[str, int], name: str
) -> None:
    dtype = STRUCTURES[name]
    assert dtype.itemsize == compiled[name]
    assert dtype.fields is not None
    for member, (kind, offset, *_) in dtype.fields.items():
        assert (offset, kind.itemsize) == (
            compiled[f"{name}.{member}"],
            compiled[f"{name}.{member}.size"],
        ), member


def test_a_record_fills_two_cache_lines() -> None:
    assert event_record.RECORD.itemsize == 128


def test_the_constants_are_the_headers(compiled: dict[str, int]) -> None:
    for name in (
        "MAGIC",
        "VERSION",
        "ORDERS",
        "EVENTS",
        "OWN_SETS",
        "SPLIT_ORDERS",
        "NESTED",
        "NO_RECORD",
        "TRACEPOINT",
    ):
        assert getattr(event_record, name) == compiled[f"PAGEDBG_{name}"], name
    for name in ("RANGES", "PIDS", "COMMS", "OWN"):
        assert getattr(filter_record, name) == compiled[f"PAGEDBG_{name}"], name
    assert compiled["PAGEDBG_STACK_DEPTH"] == stack_record.STACK_DEPTH
    for number, name in event_record.EVENT_NAMES.items():
        assert number == compiled[f"PAGEDBG_{name.replace(' ', '_').upper()}"], name


def test_the_kinds_of_events_are_those_of_both_back_ends() -> None:
    bpf = (BPF / "capture.bpf.c").read_text()
    assert {("set", "SET")} | set(
        re.findall(r"^ENTRY\((\w+), HOOK_(\w+)\)", bpf, re.MULTILINE)
    ) == {
        (kind.name.replace(" ", "_"), kind.name.replace(" ", "_").upper())
        for kind in event_record.EVENT_KINDS
    }
    module = (BPF.parent / "kmod/probes.c").read_text()
    hooks = module.partition("} hooks[] = {")[2].partition("};")[0]
    found = re.findall(
        r'\{ \.event = "(\w+)",\s*\.names = \{ ([^}]*) \},\s*(\.at_\w+)', hooks
    )
    for word, functions, where in found:
        kind = event_record.KINDS_BY_WORD[word]
        assert set(re.findall(r'"(\w+)"', functions)) <= set(kind.functions)
        assert (where == ".at_entry") == kind.at_entry
    assert {word for word, *_ in found} == set(event_record.KINDS_BY_WORD)
    words = (BPF.parent / "kmod/page_order.c").read_text()
    assert dict(re.findall(r'\[PAGEDBG_(\w+)\] = "(\w+)"', words)) == {
        kind.name.replace(" ", "_").upper(): kind.word
        for kind in event_record.EVENT_KINDS
    }


def test_both_choose_by_the_same_hash(compiled: dict[str, int]) -> None:
    assert participation_hash(np.array(KEYS, np.uint64)).tolist() == [
        compiled[f"hash.{key}"] for key in KEYS
    ]


def test_both_check_a_record_alike(compiled: dict[str, int]) -> None:
    filled = [
        [index * index * seed % 256 for index in range(event_record.RECORD.itemsize)]
        for seed in SEEDS
    ]
    records = np.array(filled, np.uint8).view(event_record.RECORD).reshape(-1)
    assert event_record.check_of(records).tolist() == [
        compiled[f"check.{seed}"] for seed in SEEDS
    ]


@given(
    st.lists(st.integers(0, (1 << 64) - 1), min_size=15, max_size=15),
    st.sampled_from(list(itertools.combinations(range(15), 2))),
    st.integers(1, (1 << 63) - 1),
)
def test_two_words_that_change_alike_show(
    words: list[int], pair: tuple[int, int], change: int
) -> None:
    """set has its time, its pid and its comm twice: a plain sum would miss that."""
    was = np.array([*words, 0], np.uint64)
    plus, flipped = was.copy(), was.copy()
    plus[list(pair)] += np.uint64(change)
    flipped[list(pair)] ^= np.uint64(change)
    before, *after = (
        int(event_record.check_of(each.view(event_record.RECORD))[0])
        for each in (was, plus, flipped)
    )
    assert before not in after


def test_a_slot_that_was_never_used_is_no_record() -> None:
    assert event_record.check_of(np.zeros(1, event_record.RECORD))[0] != 0


def test_what_every_event_looks_at_shares_no_cache_line_with_what_is_written(
    compiled: dict[str, int],
) -> None:
    read = ("active", "dummy_handle", "memmap", "mem_section")
    assert {compiled[f"pagedbg_header.{name}"] // 64 for name in read} == {0}
    assert compiled["pagedbg_header.splits"] // 64 == 1


def test_a_header_of_the_former_version_says_the_same() -> None:
    former = np.zeros(1, FORMER_HEADER)
    for number, name in enumerate(FORMER_HEADER.names or (), 1):
        former[name] = number
    former["version"] = FORMER
    found = header_of(former.tobytes() + bytes([255] * 16))
    for name in event_record.HEADER.names or ():
        assert found[name][0].tolist() == (
            former[name][0].tolist() if name != "split_orders" else [0] * 16
        )


def test_no_structure_has_holes_that_nobody_clears() -> None:
    for name, dtype in STRUCTURES.items():
        assert np.dtype(dtype.descr) == dtype, name
