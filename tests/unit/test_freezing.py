# SPDX-License-Identifier: GPL-2.0-or-later
"""What stops the rings: as it is typed, as C has it, and as it is found again."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagedbg.capture.backends.backend import packed_freeze
from pagedbg.capture.backends.bpf_image import sources
from pagedbg.errors import UsageError
from pagedbg.schema import freezing
from pagedbg.schema.event_record import FREEZE
from pagedbg.schema.freezing import UNFROZEN, FreezeOn, Frozen, frozen_by
from pagedbg.schema.freezing import parse_freeze_on as parse

MODULE = (sources().parent / "kmod/freeze.c").read_text()


@pytest.mark.parametrize(
    ("text", "means", "packed"),
    [
        ("failure", FreezeOn("failure"), (0b10, 0)),
        ("failure:4", FreezeOn("failure", 4), (0b10, 4)),
        ("any-failure:9", FreezeOn("any-failure", 9), (0b110, 9)),
        ("oom", FreezeOn("oom"), (0b1000, 0)),
        ("panic-only", UNFROZEN, (0, 0)),
    ],
)
def test_each_word_asks_for_its_reasons(
    text: str, means: FreezeOn, packed: tuple[int, int]
) -> None:
    assert parse(text) == means
    assert parse(str(means)) == means
    assert tuple(packed_freeze(means).values()) == packed


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "'' is none of failure"),
        ("oom:4", "'oom:4' is none of failure"),
        ("panic", "'panic' is none of failure"),
        ("failure:", "'' is no order from 0 to 20"),
        ("failure:21", "'21' is no order from 0 to 20"),
        ("failure:-1", "'-1' is no order"),
        ("any-failure:²", "is no order"),
    ],
)
def test_what_means_nothing_is_one_sentence(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        parse(text)


def test_the_module_knows_the_same_words_and_both_the_same_reasons() -> None:
    words = set(re.findall(r'strn?cmp\(on, "([\w-]+)"', MODULE))
    assert words == set(freezing._WORDS)
    header = (sources() / "ring.h").read_text()
    reasons = re.search(r"enum pagedbg_freeze_reason \{(.*?)\};", header, re.DOTALL)
    assert reasons
    names = re.findall(r"PAGEDBG_(\w+)\b", reasons[1])
    assert [getattr(freezing, name) for name in names] == [1, 2, 3]


@given(st.binary(min_size=FREEZE.itemsize, max_size=FREEZE.itemsize))
def test_whatever_is_in_a_dump_is_what_can_be_or_nothing(noise: bytes) -> None:
    found = frozen_by(np.frombuffer(noise, FREEZE)[0])
    record = np.frombuffer(noise, FREEZE)[0]
    if found != Frozen(0):
        assert found.reason == record["reason"] <= freezing.OOM_KILL
        assert found.order == record["order"] <= 20


def test_what_was_written_is_found() -> None:
    record = np.zeros(1, FREEZE)
    record["reason"], record["order"], record["pid"] = freezing.FAILURE, 4, 54
    record["gfp_mask"], record["time_nsec"], record["mono_nsec"] = 0xCC0, 10**10, 7
    record["comm"] = np.frombuffer(b"traffic\0left/54\0", "<u8")
    expected = Frozen(freezing.FAILURE, 10**10, 7, 4, 0xCC0, 54, "traffic")
    assert frozen_by(record[0]) == expected
