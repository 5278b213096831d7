# SPDX-License-Identifier: GPL-2.0-or-later
"""Walks through damaged memory end: in what they were to find, or in a sentence."""

from __future__ import annotations

import cProfile
import itertools
import sys
import threading
from collections.abc import Iterator

import pytest
from drgn import Object, Program, host_platform

from pagedbg.errors import PagedbgError
from pagedbg.target.links import UNREADABLE, Damaged, bounded, limited


def pointers(*addresses: int) -> Iterator[Object]:
    """Pointers to some places."""
    prog = Program(host_platform)
    yield from (
        Object(prog, prog.pointer_type(prog.void_type()), address)
        for address in addresses
    )


def for_ever() -> int:
    """Looks for what there is not."""
    return next(number for number in itertools.count() if abs(number) < 0)


def never() -> Iterator[Object]:
    """A list of which nothing is ever what is looked for."""
    for_ever()
    yield from pointers(1)


def test_a_list_with_an_end_is_what_it_is() -> None:
    assert [pointer.value_() for pointer in bounded(pointers(8, 16, 24))] == [8, 16, 24]


def test_a_list_that_comes_back_to_where_it_was_has_no_end() -> None:
    with pytest.raises(Damaged, match="a list in it has no end"):
        list(bounded(pointers(8, 16, 8)))


def test_a_list_whose_next_never_comes_has_no_end() -> None:
    with pytest.raises(Damaged, match="no end"):
        list(bounded(never()))


def test_a_walk_is_ended_in_any_thread() -> None:
    raised: list[BaseException] = []

    def walk() -> None:
        try:
            limited(for_ever)
        except Damaged as error:
            raised.append(error)

    thread = threading.Thread(target=walk)
    thread.start()
    thread.join()
    assert len(raised) == 1


def test_what_watched_before_watches_afterwards() -> None:
    def watch(*_: object) -> None: ...

    sys.setprofile(watch)
    try:
        assert limited(divmod, 7, 2) == (3, 1)
        with pytest.raises(Damaged):
            limited(for_ever)
        assert sys.getprofile() is watch
    finally:
        sys.setprofile(None)


def test_a_walk_over_types_that_do_not_fit_is_damage() -> None:
    with pytest.raises(Damaged, match="the types of this kernel are damaged"):
        list(bounded(pointer for pointer in pointers(8) if len(pointer)))


def test_a_profiler_in_c_is_left_in_place() -> None:
    profile = cProfile.Profile()
    profile.enable()
    try:
        assert limited(abs, -1) == 1
    finally:
        profile.disable()


def test_damage_is_a_sentence_and_something_that_one_can_do_without() -> None:
    assert issubclass(Damaged, PagedbgError)
    assert issubclass(Damaged, UNREADABLE)
