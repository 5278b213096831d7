# SPDX-License-Identifier: GPL-2.0-or-later
"""
Where the extended data of a page lies, and what its page_owner record says, on kernels
made by hand.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from drgn import FaultError, Program
from fake_kernel import OWNER_6_1, OWNER_6_12, PageOwnerKernel
from hypothesis import given, settings
from hypothesis import strategies as st

from pagedbg.mm.bulk_read import read_array
from pagedbg.mm.page_ext import (
    for_each_page_ext_range,
    page_ext_size,
    pfn_to_page_ext,
    read_page_ext,
)
from pagedbg.mm.page_owner import get_page_owner, page_owner_of_pfn, special_handles
from pagedbg.mm.page_owner_bulk import (
    page_owner_dtype,
    page_owner_states,
    read_page_owners,
)
from pagedbg.schema.owner_record import ALLOCATED, FREED, NEVER, decode_comm


def sparse(**more: int) -> tuple[PageOwnerKernel, dict[int, int]]:
    """
    A kernel with sections of 4 pages, of which 1, 2, 6 and 9 are there; 2 has no
    page_ext and that of 6 is being taken away.
    """
    fake = PageOwnerKernel(section_bits=2, **more)
    sections = {
        nr: (
            b"".join(
                fake.record(True, True, handle=(nr << 2) + i, order=0, pid=i)
                for i in range(4)
            )
            if nr != 2
            else None
        )
        for nr in (1, 2, 6, 9)
    }
    return fake, fake.add_sections(sections, invalid=(6,))


def test_the_array_of_a_section_is_indexed_by_the_page_frame_number_itself() -> None:
    fake, addresses = sparse()
    assert page_ext_size(fake.prog) == 72
    for nr in (1, 9):
        for i in range(4):
            assert (
                pfn_to_page_ext(fake.prog, (nr << 2) + i).value_()
                == addresses[nr] + 72 * i
            )


@pytest.mark.parametrize("pfn", [0, 3, 8, 11, 12, 24, 27, 40, 1 << 40, (1 << 52) - 1])
def test_a_page_without_a_section_or_without_page_ext_has_none(pfn: int) -> None:
    fake, _ = sparse()
    assert not pfn_to_page_ext(fake.prog, pfn)
    assert page_owner_of_pfn(fake.prog, pfn) is None
    assert not get_page_owner(pfn_to_page_ext(fake.prog, pfn))


@pytest.mark.parametrize(
    "start, end",
    [
        (0, None),
        (0, 1 << 60),
        (5, 39),
        (4, 40),
        (6, 7),
        (7, 38),
        (8, 36),
        (39, 40),
        (40, 1 << 60),
    ],
)
def test_ranges_are_cut_to_what_was_asked_for(start: int, end: int | None) -> None:
    fake, addresses = sparse()
    found = [
        (pfn, piece.address + 72 * (pfn - piece.start_pfn))
        for piece in for_each_page_ext_range(fake.prog, start, end)
        for pfn in range(piece.start_pfn, piece.end_pfn)
    ]
    there = [(nr << 2) + i for nr in (1, 9) for i in range(4)]
    assert found == [
        (pfn, addresses[pfn >> 2] + 72 * (pfn & 3))
        for pfn in there
        if start <= pfn and (end is None or pfn < end)
    ]


def test_what_stands_before_and_behind_page_owners_data_belongs_to_other_clients() -> (
    None
):
    fake = PageOwnerKernel(section_bits=2, before=24, behind=16)
    fake.add_sections(
        {0: b"".join(fake.record(True, True, handle=i, order=0) for i in range(4))}
    )
    assert page_ext_size(fake.prog) == 24 + 64 + 16
    assert [page_owner_of_pfn(fake.prog, pfn).handle for pfn in range(4)] == [
        0,
        1,
        2,
        3,
    ]  # type: ignore[union-attr]
    ((_, records, known),) = read_page_owners(fake.prog)
    assert records["handle"].tolist() == [0, 1, 2, 3]
    assert known.all()


@pytest.mark.parametrize("start", [0, 5, 1024, 1500])
def test_a_flat_array_begins_at_the_largest_block_that_the_node_begins_in(
    start: int,
) -> None:
    fake = PageOwnerKernel()
    first = start // 1024 * 1024
    pages = range(first, start + 3000)
    address = fake.add_node(
        start,
        b"".join(fake.record(True, True, handle=pfn, order=0) for pfn in pages),
        spanned=3000,
    )
    for pfn in (start, start + 1, start + 2999):
        assert pfn_to_page_ext(fake.prog, pfn).value_() == address + 72 * (pfn - first)
        assert page_owner_of_pfn(fake.prog, pfn).handle == pfn  # type: ignore[union-attr]
    assert not pfn_to_page_ext(fake.prog, start + 3000)
    handles = np.concatenate(
        [records["handle"] for _, records, _ in read_page_owners(fake.prog)]
    )
    assert handles.tolist() == list(pages)


# ---- a record ----------


def test_a_record_is_copied_member_by_member() -> None:
    fake = PageOwnerKernel(section_bits=0)
    said = {
        "order": 3,
        "last_migrate_reason": -1,
        "gfp_mask": 0xCC0,
        "handle": 1 << 31,
        "free_handle": 7,
    }
    said |= {
        "ts_nsec": 1 << 63,
        "free_ts_nsec": 5,
        "pid": 55,
        "tgid": 54,
        "free_pid": -1,
        "free_tgid": 2,
    }
    fake.add_sections({5: fake.record(True, True, comm=b"insmod", **said)})
    owner = page_owner_of_pfn(fake.prog, 5)
    assert owner is not None
    assert (owner.state, owner.comm) == (ALLOCATED, "insmod")
    assert {name: getattr(owner, name) for name in said} == said


def test_what_a_kernel_does_not_record_is_none() -> None:
    fake = PageOwnerKernel(OWNER_6_1, section_bits=0)
    assert (fake.owner.size, fake.stride) == (56, 64)
    fake.add_sections({5: fake.record(True, pid=5)})
    owner = page_owner_of_pfn(fake.prog, 5)
    assert owner is not None
    assert (owner.state, owner.pid, owner.free_pid, owner.free_tgid) == (
        FREED,
        5,
        None,
        None,
    )
    before_5_19 = [
        member
        for member in OWNER_6_12
        if member[1] not in ("comm", "tgid", "free_ts_nsec", "free_pid", "free_tgid")
    ]
    fake = PageOwnerKernel(before_5_19, section_bits=0)
    fake.add_sections({5: fake.record(True, True, pid=5)})
    owner = page_owner_of_pfn(fake.prog, 5)
    assert owner is not None
    assert (owner.state, owner.comm, owner.tgid) == (ALLOCATED, None, None)


@pytest.mark.parametrize(
    "owner, allocated, state",
    [
        (False, False, NEVER),
        (True, False, FREED),
        (True, True, ALLOCATED),
        (False, True, NEVER),
    ],
)
def test_two_flags_tell_the_state(owner: bool, allocated: bool, state: int) -> None:
    fake = PageOwnerKernel(section_bits=0)
    fake.add_sections({0: fake.record(owner, allocated)})
    ((_, records, _),) = read_page_owners(fake.prog)
    assert page_owner_states(fake.prog, records).tolist() == [state]
    assert page_owner_of_pfn(fake.prog, 0).state == state  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "raw, text",
    [
        (b"insmod\0\0\0\0\0\0\0\0\0\0", "insmod"),
        (b"sh\0mod\0junk\0\0\0\0\0", "sh"),
        (b"sixteen-letters!", "sixteen-letters!"),
        (b"\0ld\0\0\0\0\0\0\0\0\0\0\0\0\0", ""),
        (b"kworker/0:1\xff\xfe\0\0\0", "kworker/0:1\\xff\\xfe"),
        ("ünïcödé".encode().ljust(16, b"\0"), "ünïcödé"),
        (b"new\nline\0\0\0\0\0\0\0\0", "new\nline"),
    ],
)
def test_a_comm_ends_at_its_first_nul(raw: bytes, text: str) -> None:
    fake = PageOwnerKernel(section_bits=0)
    fake.add_sections({0: fake.record(True, True, comm=raw)})
    assert page_owner_of_pfn(fake.prog, 0).comm == text  # type: ignore[union-attr]
    ((_, records, _),) = read_page_owners(fake.prog)
    assert decode_comm(records["comm"][0]) == text


def test_a_record_that_cannot_be_read_is_a_fault_and_not_an_empty_record() -> None:
    fake, addresses = sparse()
    fake.forget(addresses[1], addresses[1] + 10)
    with pytest.raises(FaultError):
        page_owner_of_pfn(fake.prog, 4)
    pieces = {pfn: known for pfn, _, known in read_page_owners(fake.prog)}
    assert not pieces[4].any()
    assert pieces[36].all()


def test_handles_that_stand_for_no_stack_are_named() -> None:
    fake = PageOwnerKernel()
    for name, value in (("dummy", 5), ("failure", 0), ("early", 7)):
        fake.number(f"{name}_handle", "depot_stack_handle_t", value)
    assert special_handles(fake.prog) == {5: "dummy", 7: "early"}


# ---- reading in bulk ----------


@settings(deadline=None)
@given(
    st.integers(1, 96),
    st.integers(1, 400),
    st.integers(0, 5000),
    st.lists(st.tuples(st.integers(0, 40_000), st.integers(1, 9000)), max_size=3),
)
def test_what_cannot_be_read_costs_only_the_records_near_it(
    size: int, count: int, skew: int, holes: list[tuple[int, int]]
) -> None:
    fake = PageOwnerKernel()
    content = (
        np.random.default_rng(size * count)
        .integers(1, 256, skew + size * count, np.uint8)
        .tobytes()
    )
    address = fake.allocate(content) + skew
    for start, length in holes:
        fake.forget(address + start, address + start + length)
    records, known = read_array(fake.prog, address, count, np.dtype(f"V{size}"))
    raw = records.tobytes()
    for i in range(count):
        begin, end = i * size, (i + 1) * size
        hit = any(start < end and begin < start + length for start, length in holes)
        if known[i]:
            assert not hit
            assert raw[begin:end] == content[skew + begin : skew + end]
        elif not hit:
            # Given up only in a unit of 4 KiB that has a hole, or beside one.
            units = range((address + begin) // 4096, (address + end - 1) // 4096 + 1)
            assert any(
                (address + start) // 4096
                <= unit
                <= (address + start + length - 1) // 4096
                for start, length in holes
                for unit in units
            )


def test_arrays_larger_than_one_read_come_in_pieces_without_a_gap() -> None:
    fake = PageOwnerKernel(section_bits=17)
    record = fake.record(True, True, order=0)
    fake.add_sections({1: record * (1 << 17)})
    pieces = [
        (pfn, len(records))
        for pfn, records, _ in read_page_ext(fake.prog, page_owner_dtype(fake.prog))
    ]
    assert len(pieces) > 1
    assert pieces[0][0] == 1 << 17
    assert all(
        pfn + count == following
        for (pfn, count), (following, _) in itertools.pairwise(pieces)
    )
    assert sum(count for _, count in pieces) == 1 << 17


def test_a_kernel_without_page_owner_files_nothing_in_place_of_a_stack() -> None:
    assert special_handles(Program()) == {}
